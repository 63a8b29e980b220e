defmodule Sippet.Proxy.ReportTest do
  # What `Sippet.Proxy.ResponseContext.run/5` reports of a request that has ended.
  use ExUnit.Case, async: true

  import Sippet.Test

  alias Sippet.{Message, URI}
  alias Sippet.Proxy.ResponseContext

  @phones for n <- 1..3, do: URI.parse!("sip:bob@203.0.113.#{n}")

  defmodule Proxy do
    use Sippet.Core

    def receive_request(%Message{start_line: %{method: :cancel}} = cancel, _key, stack),
      do: Sippet.send(stack, Message.to_response(cancel, 200))

    def receive_request(request, key, stack) do
      %{targets: targets, test: test, options: options} =
        :persistent_term.get({__MODULE__, stack})

      result = ResponseContext.run(stack, key, request, targets, options)
      send(test, {:returned, result})
    end

    def receive_response(response, key, stack),
      do: ResponseContext.receive_response(stack, response, key)

    def receive_error(_reason, _key, _stack), do: :ok
  end

  setup context do
    stack = context.test
    test = self()

    config = %{
      test: test,
      targets: [Map.get(context, :targets, @phones)],
      options: [report: &send(test, {:report, &1})] ++ Map.get(context, :options, [])
    }

    :persistent_term.put({Proxy, stack}, config)
    on_exit(fn -> :persistent_term.erase({Proxy, stack}) end)
    start_supervised!({Sippet.Test, name: stack, core: Proxy})
    %{stack: stack}
  end

  # A call, and the INVITE of each phone by its URI.
  defp call(stack, count \\ 3) do
    before = System.system_time()
    invite = deliver(stack, request(:invite, "sip:bob@biloxi.com"))

    copies =
      for _n <- 1..count//1,
          copy = assert_request(stack, :invite),
          into: %{},
          do: {copy.start_line.request_uri, copy}

    {invite, copies, before}
  end

  defp phone(n), do: Enum.at(@phones, n - 1)

  defp answer(stack, copies, n, status) do
    tagged = fn response ->
      {name, uri, params} = response.headers.to
      Message.put_header(response, :to, {name, uri, Map.put(params, "tag", "phone#{n}")})
    end

    respond(stack, copies[phone(n)], status, tagged)
  end

  defp report do
    assert_receive {:report, report}, 1_000
    assert_receive {:returned, result}, 1_000
    assert report.result == result
    report
  end

  test "says which phone has answered, and when", %{stack: stack} do
    {_invite, copies, before} = call(stack)
    answer(stack, copies, 1, 486)
    answer(stack, copies, 2, 180)
    assert_response(stack, 180)
    rang = System.system_time()
    answer(stack, copies, 3, 180)
    assert_response(stack, 180)
    answer(stack, copies, 2, 200)
    assert_response(stack, 200)
    refute_received {:report, _early}
    assert_request(stack, :cancel)
    answer(stack, copies, 3, 487)

    report = report()
    assert {:ok, %Message{start_line: %{status_code: 200}}} = report.result
    assert report.target == phone(2)
    refute report.cancelled?
    assert report.branches == [{phone(1), 486}, {phone(2), 200}, {phone(3), 487}]
    assert before <= report.started and report.started < report.ringing
    assert report.ringing <= rang
    assert report.ringing < report.answered and report.answered < report.ended
    assert report.ended <= System.system_time()
  end

  test "says which of two was first", %{stack: stack} do
    {_invite, copies, _before} = call(stack)
    answer(stack, copies, 2, 200)
    assert_response(stack, 200)
    answered = System.system_time()
    answer(stack, copies, 3, 200)
    assert_response(stack, 200)
    answer(stack, copies, 1, 486)
    report = report()
    assert report.target == phone(2) and report.answered <= answered
    assert report.branches == [{phone(1), 486}, {phone(2), 200}, {phone(3), 200}]
  end

  test "says whose refusal was passed on", %{stack: stack} do
    {_invite, copies, _before} = call(stack)
    for {n, status} <- [{1, 503}, {2, 404}, {3, 486}], do: answer(stack, copies, n, status)
    assert_response(stack, 404)
    report = report()
    assert report.target == phone(2)
    assert %{ringing: nil, answered: answered} = report
    assert is_integer(answered)
  end

  test "knows a 500 of the proxy's own for nobody's", %{stack: stack} do
    {_invite, copies, _before} = call(stack)
    for n <- 1..3, do: answer(stack, copies, n, 503)
    assert_response(stack, 500)
    assert %{target: nil, branches: [{_, 503}, {_, 503}, {_, 503}]} = report()
  end

  test "says that the caller has cancelled", %{stack: stack} do
    {invite, copies, _before} = call(stack)
    answer(stack, copies, 1, 180)
    assert_response(stack, 180)
    deliver(stack, Message.to_cancel(invite))
    assert_response(stack, 200)
    assert_request(stack, :cancel)
    answer(stack, copies, 1, 487)
    # The others have never said anything.
    advance(stack, 64_000)
    report = report()
    assert report.cancelled? and report.target == phone(1)
    assert {:ok, %Message{start_line: %{status_code: 487}}} = report.result
    assert report.branches == [{phone(1), 487}, {phone(2), :timeout}, {phone(3), :timeout}]
  end

  test "says that it was cancelled, where no phone has said so", %{stack: stack} do
    {invite, _copies, _before} = call(stack)
    deliver(stack, Message.to_cancel(invite))
    advance(stack, 64_000)
    assert %{cancelled?: true, target: nil, result: {:error, :cancelled}} = report()
  end

  @tag options: [timer_c: 1]
  @tag targets: [hd(@phones)]
  test "says that Timer C gave up a branch that said nothing", %{stack: stack} do
    {_invite, _copies, _before} = call(stack, 1)
    assert_response(stack, 408)
    advance(stack, 64_000)
    assert %{branches: [{phone, :timeout}], target: phone, cancelled?: false} = report()
    assert phone == phone(1)
  end

  @tag targets: []
  test "has no branches where nobody was to be called", %{stack: stack} do
    {_invite, _copies, _before} = call(stack, 0)
    assert_response(stack, 480)
    assert %{branches: [], target: nil, ringing: nil} = report = report()
    assert is_integer(report.answered)
  end

  test "says why a phone could not be reached", %{stack: stack} do
    fail_sends(stack, :enetunreach)
    deliver(stack, request(:invite, "sip:bob@biloxi.com"))
    report = report()
    assert [{_, :enetunreach}, {_, :enetunreach}, {_, :enetunreach}] = report.branches
  end

  @binding %Sippet.Binding{
    contact: {"", hd(@phones), %{}},
    expires_at: 0,
    call_id: "c",
    cseq: 1
  }

  @tag targets: [@binding]
  test "has the target as it was given", %{stack: stack} do
    {_invite, copies, _before} = call(stack, 1)
    answer(stack, copies, 1, 603)
    assert_response(stack, 603)
    assert report().target == @binding
  end

  @tag targets: [hd(@phones)]
  test "has the first of two that have answered", %{stack: stack} do
    {_invite, copies, _before} = call(stack, 1)
    answer(stack, copies, 1, 200)
    assert_response(stack, 200)
    first = report()
    # The second comes by the core, as the context has ended.
    answer(stack, copies, 1, 200)
    refute_received {:report, _second}
    assert first.target == phone(1)
  end

  test "needs a function" do
    assert_raise ArgumentError, ~r/:report/, fn ->
      ResponseContext.run(:none, nil, request(:invite, "sip:b@h"), [], report: :log)
    end
  end
end
