defmodule Sippet.SessionTimerTest do
  use ExUnit.Case, async: true

  alias Sippet.{Message, SessionTimer}

  doctest SessionTimer

  @now 1_000_000

  defp invite(headers \\ []), do: request(:invite, headers)

  defp request(method, headers) do
    method
    |> Message.build_request("sip:bob@biloxi.com")
    |> Message.put_header(:from, {"", Sippet.URI.parse!("sip:alice@atlanta.com"), %{}})
    |> Message.complete()
    |> Message.put_headers(headers)
  end

  # With a refresher or without one.
  defp session_expires(seconds, nil), do: {"Session-Expires", ["#{seconds}"]}
  defp session_expires(seconds, by), do: {"Session-Expires", ["#{seconds};refresher=#{by}"]}

  defp asking(nil), do: []
  defp asking({seconds, by}), do: [session_expires(seconds, by)]

  defp status(response), do: response.start_line.status_code

  defp timer_in(message) do
    case Message.fetch_typed(message, "Session-Expires") do
      {:ok, {seconds, params}} -> {seconds, params["refresher"]}
      :error -> nil
    end
  end

  defp tags(message, header), do: Message.get_header(message, header, [])

  defp min_se(message),
    do: with({:ok, {seconds, _}} <- Message.fetch_typed(message, "Min-SE"), do: seconds)

  defp answer(timer, request, status \\ 200) do
    SessionTimer.put_response(timer, request, Message.to_response(request, status), @now)
  end

  defp ok(request, headers), do: response(request, 200, headers)

  defp response(request, status, headers),
    do: request |> Message.to_response(status) |> Message.put_headers(headers)

  defp running(options \\ [], headers \\ [session_expires(600, "uac")]) do
    {invite, timer} = SessionTimer.put_request(SessionTimer.new(options), invite())
    {:ok, timer} = SessionTimer.receive_response(timer, ok(invite, headers), @now)
    timer
  end

  describe "new/1" do
    test "has the interval of half an hour and the minimum of 90 s" do
      assert %{session_expires: 1_800, min_se: 90, interval: nil, refresher: nil} =
               SessionTimer.new()
    end

    test "refuses what RFC4028§4 and §5 do not allow" do
      for options <- [[min_se: 89], [session_expires: 89], [session_expires: 600, min_se: 601]],
          do: assert_raise(ArgumentError, ~r/:min_se/, fn -> SessionTimer.new(options) end)

      assert_raise ArgumentError, ~r/:refresher/, fn -> SessionTimer.new(refresher: :uac) end
    end
  end

  describe "put_request/2" do
    # option, Session-Expires
    for {wanted, by} <- [{nil, nil}, {:local, "uac"}, {:remote, "uas"}] do
      test "asks for a session timer, with the refresher #{inspect(wanted)}" do
        timer = SessionTimer.new(session_expires: 600, refresher: unquote(wanted))
        {invite, _timer} = SessionTimer.put_request(timer, invite())
        assert timer_in(invite) == {600, unquote(by)}
        assert tags(invite, :supported) == ["timer"]
        assert min_se(invite) == :error
      end
    end

    test "leaves the other extensions in Supported, and writes timer once" do
      timer = SessionTimer.new()
      {invite, timer} = SessionTimer.put_request(timer, invite(supported: ["100rel", "Timer"]))
      assert tags(invite, :supported) == ["100rel", "Timer"]
      {invite, _timer} = SessionTimer.put_request(timer, invite(supported: ["100rel"]))
      assert tags(invite, :supported) == ["100rel", "timer"]
    end

    test "writes a minimum that is more than 90 s" do
      {invite, _timer} = SessionTimer.put_request(SessionTimer.new(min_se: 120), invite())
      assert min_se(invite) == 120
    end

    test "names the refresher of now within a session, by the roles of the request" do
      for {by, now} <- [{"uac", "uac"}, {"uas", "uas"}], method <- [:update, :invite] do
        {request, _timer} =
          SessionTimer.put_request(running([], [session_expires(700, by)]), request(method, []))

        assert timer_in(request) == {700, now}
      end
    end

    test "leaves any other request as it is" do
      for method <- [:bye, :info, :ack, :options] do
        request = request(method, [])
        assert {^request, _timer} = SessionTimer.put_request(running(), request)
      end
    end
  end

  describe "receive_request/2" do
    test "takes an interval that is long enough, and a request that has none" do
      timer = SessionTimer.new(min_se: 600)

      for headers <- [
            [],
            [supported: ["timer"]],
            [session_expires(600, nil), {:supported, ["timer"]}]
          ],
          do: assert(SessionTimer.receive_request(timer, invite(headers)) == :ok)
    end

    test "refuses a shorter one with 422 and the minimum, if the sender knows what that means" do
      timer = SessionTimer.new(min_se: 600)

      for method <- [:invite, :update] do
        request = request(method, [session_expires(599, nil), {:supported, ["timer"]}])
        assert {:error, response} = SessionTimer.receive_request(timer, request)
        assert {response.start_line.status_code, min_se(response)} == {422, 600}
      end

      assert SessionTimer.receive_request(timer, invite([session_expires(599, nil)])) == :ok
    end

    test "says the minimum also where it is that of the RFC" do
      request = invite([session_expires(80, nil), {:supported, ["timer"]}])
      assert {:error, response} = SessionTimer.receive_request(SessionTimer.new(), request)
      assert min_se(response) == 90
    end

    test "refuses what is malformed with 400" do
      for header <- ["Session-Expires", "Min-SE"],
          value <- ["", "soon", "-1", "600;=", "99999999999999999999", "1 2"] do
        assert {:error, response} =
                 SessionTimer.receive_request(SessionTimer.new(), invite([{header, [value]}]))

        assert response.start_line.status_code == 400
        assert response.start_line.reason_phrase == "Bad Request (#{header})"
      end
    end

    test "does not look at any other request" do
      bye = request(:bye, [{"Session-Expires", ["soon"]}])
      assert SessionTimer.receive_request(SessionTimer.new(), bye) == :ok
    end
  end

  describe "put_response/4: RFC4028§9, table 2" do
    # supports?, Session-Expires of the request, option, Session-Expires of the 2xx, who refreshes
    for {supports?, asked, wanted, answer, refresher} <- [
          {false, nil, nil, nil, nil},
          {false, nil, :remote, nil, nil},
          {false, nil, :local, {900, "uas"}, :local},
          {false, {600, nil}, nil, {600, "uas"}, :local},
          {false, {600, nil}, :remote, {600, "uas"}, :local},
          {false, {600, "uac"}, nil, {600, "uas"}, :local},
          {true, nil, nil, {900, "uac"}, :remote},
          {true, nil, :remote, {900, "uac"}, :remote},
          {true, nil, :local, {900, "uas"}, :local},
          {true, {600, nil}, nil, {600, "uac"}, :remote},
          {true, {600, nil}, :local, {600, "uas"}, :local},
          {true, {600, "uac"}, :local, {600, "uac"}, :remote},
          {true, {600, "uas"}, :remote, {600, "uas"}, :local},
          {true, {600, "UAS"}, nil, {600, "uas"}, :local},
          {true, {600, "nobody"}, nil, {600, "uac"}, :remote}
        ] do
      @tag row: {supports?, asked, wanted, answer, refresher}
      test "supports #{supports?}, asks #{inspect(asked)}, option #{inspect(wanted)}", %{row: row} do
        {supports?, asked, wanted, agreed, refresher} = row
        supported = if supports?, do: [supported: ["timer"]], else: []
        timer = SessionTimer.new(session_expires: 900, refresher: wanted)

        {response, timer} = answer(timer, invite(supported ++ asking(asked)))
        assert timer_in(response) == agreed
        assert timer.refresher == refresher
        assert timer.interval == with({seconds, _by} <- agreed, do: seconds)
        # Who does not know it would have to refuse a Require.
        assert tags(response, :require) ==
                 if(supports? and agreed != nil, do: ["timer"], else: [])

        assert tags(response, :supported) == ["timer"]
      end
    end

    # asked, Min-SE of the request, own interval, own minimum, agreed
    for {asked, min, own, own_min, agreed} <- [
          {1_800, nil, 600, 90, 600},
          {1_800, 900, 600, 90, 900},
          {600, nil, 1_800, 90, 600},
          {600, nil, 1_800, 600, 600},
          {nil, 2_000, 1_800, 90, 2_000},
          {nil, nil, 1_800, 90, 1_800}
        ] do
      test "asked #{inspect(asked)} with Min-SE #{inspect(min)}, own #{own} with #{own_min}: #{agreed}" do
        expires = if unquote(asked), do: [session_expires(unquote(asked), nil)], else: []
        min = if unquote(min), do: [{"Min-SE", ["#{unquote(min)}"]}], else: []
        timer = SessionTimer.new(session_expires: unquote(own), min_se: unquote(own_min))
        invite = invite([{:supported, ["timer"]}] ++ expires ++ min)
        {response, timer} = answer(timer, invite)
        assert {unquote(agreed), "uac"} = timer_in(response)
        assert timer.interval == unquote(agreed)
      end
    end

    test "has an interval that is too short grow, if the sender does not know what a 422 is" do
      timer = SessionTimer.new(min_se: 600)
      {response, timer} = answer(timer, invite([session_expires(100, nil)]))
      assert {timer_in(response), timer.interval} == {{600, "uas"}, 600}
    end

    test "keeps the largest Min-SE for the requests to come (§7.4)" do
      timer = SessionTimer.new()
      request = invite([session_expires(800, nil), {"Min-SE", ["700"]}, {:supported, ["timer"]}])
      {_response, timer} = answer(timer, request)
      {_response, timer} = answer(timer, invite([session_expires(800, nil), {"Min-SE", ["650"]}]))
      {update, _timer} = SessionTimer.put_request(timer, request(:update, []))
      assert min_se(update) == 700
    end

    test "leaves any other response, and the timer, as they are" do
      invite = invite([session_expires(800, nil), {:supported, ["timer"]}])
      timer = running()

      for status <- [180, 302, 486] do
        response = Message.to_response(invite, status)
        assert SessionTimer.put_response(timer, invite, response, @now) == {response, timer}
      end

      info = request(:info, [session_expires(800, nil), {:supported, ["timer"]}])
      response = Message.to_response(info, 200)
      assert SessionTimer.put_response(timer, info, response, @now) == {response, timer}
    end

    test "takes a malformed Session-Expires that was not refused for none" do
      for {headers, agreed} <- [{[], nil}, {[supported: ["timer"]], {1_800, "uac"}}] do
        {response, _timer} =
          answer(SessionTimer.new(), invite([{"Session-Expires", ["soon"]} | headers]))

        assert timer_in(response) == agreed
      end
    end

    test "ends the timer when a refresh asks for none" do
      {_response, timer} = answer(running(), invite())
      assert SessionTimer.next(timer, @now) == :never
    end
  end

  describe "receive_response/3" do
    # Session-Expires of the 2xx, option, agreed
    for {headers, wanted, agreed} <- [
          {{600, "uac"}, nil, {600, :local}},
          {{600, "uas"}, nil, {600, :remote}},
          {{600, "UAS"}, :local, {600, :remote}},
          {{600, nil}, nil, {600, :local}},
          {nil, nil, {nil, nil}},
          {nil, :remote, {nil, nil}},
          {nil, :local, {1_800, :local}},
          {{5, "uac"}, nil, {90, :local}}
        ] do
      test "a 2xx with #{inspect(headers)}, option #{inspect(wanted)}" do
        headers =
          case unquote(Macro.escape(headers)) do
            {seconds, by} -> [session_expires(seconds, by)]
            nil -> []
          end

        timer = running([refresher: unquote(wanted)], headers)
        assert {timer.interval, timer.refresher} == unquote(Macro.escape(agreed))
      end
    end

    test "a 2xx whose Session-Expires is malformed starts no timer" do
      assert running([], [{"Session-Expires", ["soon"]}]).interval == nil
    end

    test "a refresh that is answered without Session-Expires ends the timer (§7.2)" do
      timer = running()
      {update, timer} = SessionTimer.put_request(timer, request(:update, []))
      assert {:ok, timer} = SessionTimer.receive_response(timer, ok(update, []), @now)
      assert SessionTimer.next(timer, @now) == :never
    end

    test "a refresh turns the roles round, if the far end says so" do
      timer = running()
      {update, timer} = SessionTimer.put_request(timer, request(:update, []))
      ok = ok(update, [session_expires(600, "uas")])
      assert {:ok, %{refresher: :remote}} = SessionTimer.receive_response(timer, ok, @now)
    end

    test "a 422 has the request sent again, with its minimum for both" do
      {invite, timer} = SessionTimer.put_request(SessionTimer.new(session_expires: 90), invite())
      refused = response(invite, 422, [{"Min-SE", ["3600"]}])
      assert {:retry, timer} = SessionTimer.receive_response(timer, refused, @now)
      {again, timer} = SessionTimer.put_request(timer, Message.renew(invite))
      assert {timer_in(again), min_se(again)} == {{3_600, nil}, 3_600}

      # A proxy further on has a greater one.
      refused = response(again, 422, [{"Min-SE", ["4000"]}])
      assert {:retry, timer} = SessionTimer.receive_response(timer, refused, @now)
      {again, _timer} = SessionTimer.put_request(timer, Message.renew(again))
      assert {timer_in(again), min_se(again)} == {{4_000, nil}, 4_000}
    end

    test "a 422 to a refresh does so too, and the timer runs on" do
      timer = running()
      {update, timer} = SessionTimer.put_request(timer, request(:update, []))
      refused = response(update, 422, [{"Min-SE", ["900"]}])
      assert {:retry, timer} = SessionTimer.receive_response(timer, refused, @now)
      assert {:refresh, :invite, _ms} = SessionTimer.next(timer, @now)
      {update, timer} = SessionTimer.put_request(timer, request(:update, []))
      assert timer_in(update) == {900, "uac"}
      assert {:hang_up, _ms} = SessionTimer.next(timer, @now)
    end

    test "a 422 that names no longer interval has failed" do
      {invite, timer} = SessionTimer.put_request(SessionTimer.new(session_expires: 600), invite())

      for headers <- [[], [{"Min-SE", ["soon"]}], [{"Min-SE", ["600"]}], [{"Min-SE", ["90"]}]] do
        refused = response(invite, 422, headers)
        assert SessionTimer.receive_response(timer, refused, @now) == {:error, :too_short}
      end
    end

    test "the fifth 422 has failed, whatever it names" do
      retried =
        Enum.reduce_while(1..10, SessionTimer.new(), fn number, timer ->
          {invite, timer} = SessionTimer.put_request(timer, invite())
          refused = response(invite, 422, [{"Min-SE", ["#{2_000 + number}"]}])

          case SessionTimer.receive_response(timer, refused, @now) do
            {:retry, timer} -> {:cont, timer}
            {:error, :too_short} -> {:halt, number}
          end
        end)

      assert retried == 5
    end

    test "other responses change nothing, and those to other requests neither" do
      timer = running()
      {update, timer} = SessionTimer.put_request(timer, request(:update, []))
      assert {:ok, ^timer} = SessionTimer.receive_response(timer, response(update, 100, []), @now)
      ok = ok(request(:info, []), [session_expires(100, "uac")])
      assert {:ok, ^timer} = SessionTimer.receive_response(timer, ok, @now)
    end
  end

  describe "next/2" do
    test "without a timer there is nothing to do" do
      assert SessionTimer.next(SessionTimer.new(), @now) == :never
    end

    test "the refresher refreshes at half of the interval" do
      timer = running()
      assert SessionTimer.next(timer, @now) == {:refresh, :invite, 300_000}
      assert SessionTimer.next(timer, @now + 299_999) == {:refresh, :invite, 1}
      assert SessionTimer.next(timer, @now + 300_000) == {:refresh, :invite, 0}
      assert SessionTimer.next(timer, @now + 400_000) == {:refresh, :invite, 0}
    end

    # interval, seconds before its end
    for {interval, before} <- [{90, 30}, {96, 32}, {600, 32}, {93, 31}] do
      test "a session of #{interval} s is given up #{before} s before its end (§10)" do
        ms = (unquote(interval) - unquote(before)) * 1_000
        timer = running([], [session_expires(unquote(interval), "uas")])
        assert SessionTimer.next(timer, @now) == {:hang_up, ms}
        assert SessionTimer.next(timer, @now + ms + 5) == {:hang_up, 0}
      end
    end

    test "the refresher gives up too, while its request has no answer" do
      timer = running()
      {_invite, timer} = SessionTimer.put_request(timer, invite())
      assert SessionTimer.next(timer, @now + 300_000) == {:hang_up, 268_000}
    end

    test "and when it is too late for a refresh" do
      assert SessionTimer.next(running(), @now + 568_000) == {:hang_up, 0}
    end

    test "a refresh that failed is tried again at half of the time that is left" do
      timer = running()
      {invite, timer} = SessionTimer.put_request(timer, invite())
      at = @now + 300_000

      for timer <- [
            SessionTimer.receive_error(timer, at),
            elem(SessionTimer.receive_response(timer, response(invite, 503, []), at), 1)
          ] do
        assert SessionTimer.next(timer, at) == {:refresh, :invite, 134_000}
      end
    end

    test "a failure is none of the refresher's where that is the far end" do
      timer = running([], [session_expires(600, "uas")])
      {_invite, timer} = SessionTimer.put_request(timer, invite())
      timer = SessionTimer.receive_error(timer, @now)
      assert SessionTimer.next(timer, @now) == {:hang_up, 568_000}
    end

    test "a refresh of either side starts the interval anew" do
      later = @now + 300_000
      {update, timer} = SessionTimer.put_request(running(), request(:update, []))
      ok = ok(update, [session_expires(600, "uac")])
      assert {:ok, timer} = SessionTimer.receive_response(timer, ok, later)
      assert SessionTimer.next(timer, later) == {:refresh, :invite, 300_000}

      update = request(:update, [session_expires(600, "uac"), {:supported, ["timer"]}])
      ok = Message.to_response(update, 200)
      {_ok, timer} = SessionTimer.put_response(timer, update, ok, later + 1_000)
      assert SessionTimer.next(timer, later + 1_000) == {:hang_up, 568_000}
    end
  end

  describe "the method" do
    test "is UPDATE where the far end allows it, else INVITE (§7.4)" do
      for {allow, options, method} <- [
            {["INVITE", "UPDATE"], [], :update},
            {["INVITE"], [], :invite},
            {["INVITE", "UPDATE"], [update: false], :invite}
          ] do
        headers = [session_expires(600, "uac"), {:allow, allow}]
        assert {:refresh, ^method, _ms} = SessionTimer.next(running(options, headers), @now)

        request = invite([session_expires(600, "uas"), {:allow, allow}, {:supported, ["timer"]}])
        {_ok, timer} = answer(SessionTimer.new(options), request)
        assert {:refresh, ^method, _ms} = SessionTimer.next(timer, @now)
      end
    end

    test "falls back to INVITE when UPDATE is refused as unknown" do
      for status <- [405, 501] do
        timer = running([], [session_expires(600, "uac"), {:allow, ["UPDATE"]}])
        {update, timer} = SessionTimer.put_request(timer, request(:update, []))
        refused = response(update, status, allow: ["INVITE"])
        {:ok, timer} = SessionTimer.receive_response(timer, refused, @now)
        assert {:refresh, :invite, _ms} = SessionTimer.next(timer, @now)

        # Also if it is said to be allowed later on.
        {_ok, timer} = answer(timer, invite([session_expires(600, "uas"), {:allow, ["UPDATE"]}]))
        assert timer.method == :invite
      end
    end
  end

  describe "a proxy" do
    @timer [session_expires: 1_800, min_se: 600]

    # Session-Expires, Min-SE, supports?; forwarded Session-Expires and Min-SE, or a status
    for {asked, min, supports?, forwarded} <- [
          {nil, nil, false, {{1_800, nil}, :error}},
          {nil, nil, true, {{1_800, nil}, :error}},
          {nil, 2_000, true, {{2_000, nil}, 2_000}},
          {{3_600, "uac"}, nil, true, {{1_800, "uac"}, :error}},
          {{3_600, "uas"}, 2_400, true, {{2_400, "uas"}, 2_400}},
          {{700, nil}, nil, true, {{700, nil}, :error}},
          {{500, nil}, nil, true, 422},
          {{500, nil}, nil, false, {{600, nil}, 600}},
          {{500, nil}, 100, false, {{600, nil}, 600}},
          {{500, nil}, 700, false, {{700, nil}, 700}}
        ] do
      @tag row: {asked, min, supports?, forwarded}
      test "forwards #{inspect({asked, min, supports?})} as #{inspect(forwarded)} (§8.1)", %{
        row: row
      } do
        {asked, min, supports?, forwarded} = row
        min = if min, do: [{"Min-SE", ["#{min}"]}], else: []
        supported = if supports?, do: [supported: ["timer"]], else: []
        invite = invite(asking(asked) ++ min ++ supported)

        case SessionTimer.forward_request(SessionTimer.new(@timer), invite) do
          {:ok, request} -> assert {timer_in(request), min_se(request)} == forwarded
          {:error, response} -> assert {status(response), min_se(response)} == {forwarded, 600}
        end
      end
    end

    test "leaves other requests as they are" do
      bye = request(:bye, [])
      assert SessionTimer.forward_request(SessionTimer.new(), bye) == {:ok, bye}
    end

    test "inserts the timer for a called side that does not know it (§8.2)" do
      request = invite([session_expires(900, nil), {:supported, ["timer"]}])
      response = SessionTimer.forward_response(ok(request, []), request)
      assert {timer_in(response), tags(response, :require)} == {{900, "uac"}, ["timer"]}
    end

    test "inserts none where the called side did, the caller knows nothing, or nothing was asked" do
      asked = invite([session_expires(900, nil), {:supported, ["timer"]}])

      for {request, response} <- [
            {asked, ok(asked, [session_expires(600, "uas")])},
            {invite([session_expires(900, nil)]), ok(asked, [])},
            {invite(supported: ["timer"]), ok(asked, [])},
            {asked, response(asked, 180, [])},
            {asked, response(asked, 486, [])}
          ],
          do: assert(SessionTimer.forward_response(response, request) == response)
    end
  end
end
