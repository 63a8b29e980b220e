defmodule Sippet.Interop.AsteriskTest do
  use Sippet.Interop.Case, async: true

  alias Sippet.Interop.{Answerer, Asterisk, Caller}

  @moduletag Peers.tags(:asterisk)

  setup do
    asterisk = Asterisk.start()
    {_ip, port} = asterisk.address
    %{asterisk: asterisk, host_port: {"127.0.0.1", port}}
  end

  describe "a call to Asterisk" do
    setup do
      {stack, _address} = start_stack(Caller)
      %{stack: stack}
    end

    test "is answered", %{stack: stack, host_port: host_port} do
      Caller.call(stack, "echo", host_port)
      assert_receive {^stack, {:response, :invite, 200, _response, _key}}, 5_000
      assert_receive {^stack, {:response, :bye, 200, _response, _key}}, 5_000
    end

    test "is refused with 486", %{stack: stack, host_port: host_port} do
      Caller.call(stack, "busy", host_port)
      assert_receive {^stack, {:response, :invite, 486, _response, _key}}, 5_000
    end

    test "is cancelled while it rings", %{stack: stack, host_port: host_port} do
      Caller.call(stack, "ringing", host_port, :cancel)
      assert_receive {^stack, {:response, :cancel, 200, _response, _key}}, 5_000
      assert_receive {^stack, {:response, :invite, 487, _response, _key}}, 5_000
    end
  end

  describe "a call of Asterisk" do
    test "is answered, and ended by it", %{asterisk: asterisk} do
      {stack, {_ip, port}} = start_stack(Answerer)
      uri = "sip:bob@127.0.0.1:#{port}"
      Asterisk.cli(asterisk, "channel originate PJSIP/anonymous/#{uri} application Wait 1")
      assert [invite] = requests(stack, :invite, 1)
      assert "timer" in invite.headers.supported
      assert [_ack] = requests(stack, :ack, 1)
      assert [_bye] = requests(stack, :bye, 1)
      refute_received {^stack, {:error, _reason, _key}}
    end
  end
end
