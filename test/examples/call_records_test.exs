defmodule Examples.CallRecordsTest do
  # By itself, in virtual time. test/examples/pbx_test.exs has the records of a PBX, with those of forks.
  use ExUnit.Case, async: true

  import Sippet.Test

  alias Examples.CallRecords
  alias Sippet.{Dialog, Message, URI}

  defmodule Core do
    use Sippet.Core

    @contact [{"", URI.parse!("sip:bob@192.0.2.1"), %{}}]

    # The user part of the Request-URI is the status.
    def receive_request(_ack, nil, _stack), do: :ok

    def receive_request(%Message{start_line: %{method: :invite}} = invite, key, stack) do
      CallRecords.placed(stack, key, invite, "alice", {:ours, "bob"})
      status = String.to_integer(invite.start_line.request_uri.userinfo)

      for status <- [180, status] do
        response = Message.to_response(invite, status)
        Sippet.send(stack, Message.put_header(response, :contact, @contact))
      end
    end

    def receive_request(request, _key, stack),
      do: Sippet.send(stack, Message.to_response(request, 200))
  end

  setup %{test: name} = context do
    test = self()

    records = [
      stack: name,
      record: &send(test, {:record, &1}),
      changed: &send(test, {:changed, &1})
    ]

    start_supervised!({CallRecords, records ++ Keyword.new(context[:records] || [])})
    start_supervised!({Sippet.Test, name: name, core: Core, telemetry: CallRecords})
    %{stack: name}
  end

  defp call(stack, status) do
    invite = deliver(stack, request(:invite, "sip:#{status}@192.0.2.1"))
    assert_response(stack, 180, invite)
    response = assert_response(stack, status, invite)
    deliver(stack, ack(invite, response))
    {invite, response}
  end

  defp record do
    assert_receive {:record, record}, 1_000
    record
  end

  defp changed do
    for user <- ["alice", "bob"], do: assert_receive({:changed, ^user}, 1_000)
  end

  test "a call is early, confirmed, and over", %{stack: stack} do
    {invite, ok} = call(stack, 200)
    for _early_and_confirmed <- 1..2, do: changed()
    call_id = invite.headers.call_id
    assert CallRecords.of(stack, "alice") == [{call_id, :initiator, "confirmed"}]
    assert CallRecords.of(stack, "bob") == [{call_id, :recipient, "confirmed"}]
    assert [%{call_id: ^call_id, status: 200, how: nil, ended: nil}] = CallRecords.list(stack)

    {:ok, dialog} = Dialog.uac(invite, ok)
    {:ok, bye, _dialog} = Dialog.next_request(dialog, :bye)
    deliver(stack, bye)
    record = record()
    assert {record.how, record.status} == {:caller_hung_up, 200}
    assert record.started <= record.ringing and record.answered <= record.ended
    assert to_string(record.called) == "sip:200@192.0.2.1"
    changed()
    assert {CallRecords.list(stack), CallRecords.of(stack, "bob")} == {[], []}
  end

  test "one that is refused", %{stack: stack} do
    call(stack, 603)
    assert %{how: :refused, status: 603, answered: nil, branches: []} = record()
    for _early_and_over <- 1..2, do: changed()
  end

  @tag records: %{max_call: 1}
  test "one whose BYE does not come is lost", %{stack: stack} do
    call(stack, 200)
    assert record().how == :lost
    assert CallRecords.list(stack) == []
  end

  test "one that is left when it stops", %{stack: stack} do
    call(stack, 200)
    for _early_and_confirmed <- 1..2, do: changed()
    stop_supervised!(CallRecords)
    assert %{how: :stopped, status: 200} = record()
  end
end
