# tshark takes a while to begin and to end: these modules do that at the same time.

defmodule Sippet.Interop.TsharkTest do
  use Sippet.Interop.Case, async: true

  import Sippet.Interop.Tshark, only: [watch: 1, sent: 2]

  alias Sippet.Interop.{Answerer, Caller}

  @moduletag Peers.tags(:tshark)

  @ipv4 {127, 0, 0, 1}
  @ipv6 {0, 0, 0, 0, 0, 0, 0, 1}

  describe "a call between two stacks" do
    for {version, ip} <- [{"IPv4", @ipv4}, {"IPv6", @ipv6}] do
      test "is sound over #{version}: answered, refused and cancelled" do
        ip = unquote(Macro.escape(ip))
        {caller, _address} = from = start_stack(Caller, ip: ip)
        {answerer, {_ip, port}} = to = start_stack(Answerer, ip: ip)
        tshark = watch([from, to])

        answered = Caller.call(caller, "bob", {text(ip), port})
        assert_receive {^caller, {:response, :bye, 200, _response, _key}}, 5_000
        refused = Caller.call(caller, "busy", {text(ip), port})
        assert_receive {^caller, {:response, :invite, 486, _response, _key}}, 5_000
        cancelled = Caller.call(caller, "ringing", {text(ip), port}, :cancel)
        assert_receive {^caller, {:response, :invite, 487, _response, _key}}, 5_000
        assert [_request] = requests(answerer, :cancel, 1)

        calls = sent(tshark, [from, to])
        assert ["INVITE", 180, 200, "ACK", "BYE", 200] = calls[answered]
        assert ["INVITE", 486, "ACK"] = calls[refused]
        assert ["INVITE", 180, "CANCEL" | ending] = calls[cancelled]
        # The answer to the CANCEL goes by another transaction than the other two.
        assert Enum.sort(ending) == [200, 487, "ACK"]
      end
    end
  end
end

defmodule Sippet.Interop.TsharkTest.Refusals do
  use Sippet.Interop.Case, async: true

  import Sippet.Interop.Tshark, only: [watch: 1, sent: 2]

  alias Sippet.Interop.{MisbehavingCore, RawPeer, Registrant, Registrar}

  @moduletag Peers.tags(:tshark)

  describe "a REGISTER between two stacks" do
    test "is sound: the challenge, the credentials, and what becomes of them" do
      {registrant, _address} = from = start_stack(Registrant)
      {_registrar, {ip, port}} = to = start_stack(Registrar)
      tshark = watch([from, to])

      for {password, status} <- [{"secret", 200}, {"wrong", 403}] do
        Registrant.register(registrant, {text(ip), port}, password)
        assert_receive {^registrant, {:response, :register, ^status, _response, _key}}, 5_000
      end

      assert [
               ["REGISTER", 401, "REGISTER", 200],
               ["REGISTER", 401, "REGISTER", 403]
             ] = tshark |> sent([from, to]) |> Map.values() |> Enum.sort()
    end
  end

  describe "a refusal" do
    @refusals [
      {400, "OPTIONS", lines: ["Route: <<<>"]},
      {400, "OPTIONS", lines: ["Max-Forwards: none"]},
      {400, "INVITE", uri: "sip:bob@127.0.0.1:99999"},
      {414, "OPTIONS", uri: "sip:#{String.duplicate("b", 9_000)}@127.0.0.1"},
      {481, "CANCEL", []},
      {500, "OPTIONS", user: "raise"},
      {513, "OPTIONS", lines: List.duplicate("X: y", 4_100)}
    ]

    # The core that raises is told of.
    @tag :capture_log
    test "is sound, whatever is refused" do
      {_stack, address} = to = start_stack(MisbehavingCore)
      peer = RawPeer.open(address)
      tshark = watch([to])

      for {status, method, options} <- @refusals, do: RawPeer.ask(peer, method, status, options)
      statuses = tshark |> sent([to]) |> Map.values() |> Enum.concat() |> Enum.sort()
      assert statuses == for({status, _method, _options} <- @refusals, do: status)
    end
  end
end

defmodule Sippet.Interop.TsharkTest.Others do
  use Sippet.Interop.Case, async: true

  alias Sippet.{Corpus, Message}
  alias Sippet.Interop.{RawPeer, Tshark}

  @moduletag Peers.tags(:tshark)

  @loopback {127, 0, 0, 1}

  # From the best to the worst.
  @severities [:none, :comment, :chat, :note, :warning, :error]

  describe "a message of another stack" do
    # Some are strange enough for tshark to complain: what is printed must not be worse than what came.
    test "is as sound when we print it as it came" do
      peer = RawPeer.open({@loopback, Program.free_port()})
      tshark = Tshark.start([peer.port])

      names =
        for folder <- ["clients", "rfc4475", "rfc5118"],
            {name, octets} <- Corpus.fixtures(folder),
            {:ok, message} <- [Message.parse(octets)] do
          RawPeer.send(peer, octets)
          RawPeer.send(peer, Message.to_iodata(message))
          name
        end

      pairs = tshark |> Tshark.packets() |> Enum.chunk_every(2)
      assert length(names) > 80 and length(pairs) == length(names)

      for {name, [came, printed]} <- Enum.zip(names, pairs) do
        assert printed.protocol == came.protocol, name
        assert rank(printed) <= rank(came), "#{name}: #{came.notes} -> #{printed.notes}"
      end
    end

    defp rank(%{severity: severity}), do: Enum.find_index(@severities, &(&1 == severity))
  end

  describe "tshark" do
    test "sees what is not sound" do
      peer = RawPeer.open({@loopback, Program.free_port()})
      tshark = Tshark.start([peer.port])

      for line <- ["No colon here", "Content-Length: many"],
          do: RawPeer.send(peer, RawPeer.request(peer, "OPTIONS", lines: [line]))

      assert [%{severity: :error}, %{severity: :error}] = Tshark.packets(tshark)
    end
  end
end
