defmodule Mix.Tasks.Sippet.TraceTest do
  # Mix's shell is one for the whole VM.
  use ExUnit.Case, async: false

  import ExUnit.CaptureIO

  alias Mix.Tasks.Sippet.Trace
  alias Sippet.Captures

  @moduletag :tmp_dir

  @log "guides/assets/call.log"

  defp run(arguments) do
    test = self()

    told =
      capture_io(:stderr, fn ->
        send(test, {:printed, capture_io(fn -> Trace.run(arguments) end)})
      end)

    assert_received {:printed, printed}
    {printed, told}
  end

  test "prints the ladder of a log, with names" do
    {printed, ""} =
      run([@log, "--name", "192.0.2.101:5060=alice", "--name", "192.0.2.10:5060=proxy"])

    assert printed =~ ~r/^ +alice +proxy +198\.51\.100\.7:5060$/m
    assert printed =~ ~r/^ +\+0\.000  \|-+ INVITE \(SDP\) -+>\|/m
  end

  test "draws in each format", %{tmp_dir: folder} do
    for {name, start} <- [
          {"a.svg", "<svg"},
          {"a.html", "<!DOCTYPE html>"},
          {"a.mmd", "sequenceDiagram"},
          {"a.log", "2027-"}
        ] do
      path = Path.join(folder, name)
      assert {"", told} = run([@log, "--output", path])
      assert told =~ "#{path}: #{File.stat!(path).size} octets"
      assert String.starts_with?(File.read!(path), start)
    end

    {printed, ""} = run([@log, "--format", "mermaid"])
    assert "sequenceDiagram\n" <> _ = printed
  end

  test "draws a capture, of what is wanted, and tells what it skipped", %{tmp_dir: folder} do
    path = Path.join(folder, "a.pcap")
    frames = for id <- ["a", "b"], do: Captures.ipv4(Captures.udp(Captures.options(id)))
    File.write!(path, Captures.pcap(101, frames ++ [Captures.ipv4("segment", protocol: 6)]))

    {printed, told} = run([path, "--call-id", "b"])
    assert printed =~ "Call-ID b," and not (printed =~ "Call-ID a,")
    assert told =~ "skipped 1: TCP segments (only SIP over UDP is read)\n"
  end

  # Legs by way of 192.0.2.2, and a third call.
  defp b2bua(folder) do
    path = Path.join(folder, "b2bua.log")

    messages =
      for {second, from, to, id, header} <- [
            {1, 1, 2, "a", "X-Ticket: 7"},
            {2, 2, 3, "b", "X-CID: a"},
            {3, 4, 5, "c", "X-Ticket: 7"}
          ] do
        text = String.replace(Captures.options(id), "Max-Forwards: 70", header)
        "2027-01-15T08:00:0#{second}Z 192.0.2.#{from}:5060 -> 192.0.2.#{to}:5060\n#{text}\n"
      end

    File.write!(path, messages)
    path
  end

  test "draws the legs of a call as one", %{tmp_dir: folder} do
    path = b2bua(folder)

    titles = fn printed ->
      Regex.scan(~r/^Call-ID (.*), from/m, printed, capture: :all_but_first)
    end

    for {options, expected} <- [
          {[], [["a"], ["b"], ["c"]]},
          {["--merge"], [["a, leg 2 b"], ["c"]]},
          {["--merge", "--call-id", "b"], [["a, leg 2 b"]]},
          {["--merge", "--address", "192.0.2.5"], [["c"]]},
          {["--merge", "--merge-header", "X-Ticket"], [["a, leg 2 b, leg 3 c"]]},
          {["--merge-header", "x-ticket"], [["a, leg 2 c"], ["b"]]},
          {["--leg", "b", "--leg", "c"], [["b, leg 2 c"]]},
          {["--leg", "b", "--merge"], [["a, leg 2 b"]]}
        ] do
      {printed, ""} = run([path | options])
      assert titles.(printed) == expected
    end

    for format <- ["mermaid", "svg", "html"] do
      {printed, ""} = run([path, "--merge", "--format", format])
      assert printed =~ "leg 2"
    end

    {printed, told} = run([path, "--merge", "--max-messages", "2"])
    assert titles.(printed) == [["a, leg 2 b"]]
    assert told =~ "skipped 1: messages over the limit"
  end

  test "draws the calls that have a message of a method as a whole" do
    {printed, ""} = run([@log, "--method", "BYE"])
    assert printed =~ "INVITE (SDP)"
    assert printed == elem(run([@log]), 0)
  end

  test "says what is wrong", %{tmp_dir: folder} do
    none = Path.join(folder, "none")
    empty = Path.join(folder, "empty.pcap")
    File.write!(empty, Captures.pcap(101, []))

    for {arguments, text} <- [
          {[], "one file is wanted"},
          {[@log, @log], "one file is wanted"},
          {[@log, "--format", "pdf"], "--format is one of ladder, mermaid, svg, html, log"},
          {[@log, "--fromat", "svg"], "--fromat is unknown"},
          {[@log, "--max-messages", "none"],
           "--max-messages is unknown, or its value is no good"},
          {[@log, "--max-messages", "0"], "--max-messages is a positive number"},
          {[@log, "--merge", "--max-messages", "0"], "--max-messages is a positive number"},
          {[@log, "--method", "INFO"], "#{@log}: no SIP message was found"},
          {[@log, "--leg", "none"], "#{@log}: no SIP message was found"},
          {[@log, "--leg", ""], "--leg and --merge-header have a value"},
          {[@log, "--name", "alice"], "--name is ADDRESS=NAME, not alice"},
          {[none], "#{none}: no such file or directory"},
          {[empty], "#{empty}: no SIP message was found"},
          {[@log, "--output", Path.join(none, "a.svg")], "no such file or directory"}
        ] do
      error = assert_raise Mix.Error, fn -> run(arguments) end
      assert Exception.message(error) =~ text
    end
  end
end
