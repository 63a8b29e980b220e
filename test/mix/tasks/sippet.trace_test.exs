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
