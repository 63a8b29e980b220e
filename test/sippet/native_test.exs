defmodule Sippet.NativeTest do
  # Loads code, and reads the log of all.
  use ExUnit.Case, async: false

  import ExUnit.CaptureLog

  alias Sippet.{Message, Native}

  @message "OPTIONS sip:b@h SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK1\r\nMax-Forwards: 70\r\n" <>
             "From: <sip:a@h>;tag=1\r\nTo: <sip:b@h>\r\nCall-ID: a\r\nCSeq: 1 OPTIONS\r\n"

  describe "loading the module anew" do
    setup do
      # Loaded before, or there would be nothing to replace.
      {_headers, _names} = Native.table_hashes()
      :ok
    end

    test "is refused in plain words, and what is loaded stays in use" do
      log = capture_log(fn -> assert :code.load_file(Native) == {:error, :on_load_failure} end)

      assert log =~ "can't be replaced in a running VM"
      assert log =~ "the one that is loaded stays in use"
      assert {:ok, %Message{}} = Message.parse(@message <> "\r\n")
    end

    test "costs no call that is under way, on a normal scheduler or a dirty one" do
      large = @message <> String.duplicate("X-Header: some words\r\n", 2_000)

      parsers =
        for text <- [@message, large],
            do: Task.async(fn -> parse_until_told(text <> "\r\n", 0) end)

      capture_log(fn ->
        for _ <- 1..5 do
          assert :code.load_file(Native) == {:error, :on_load_failure}
          :code.purge(Native)
        end
      end)

      for parser <- parsers do
        send(parser.pid, :enough)
        assert Task.await(parser) > 0
      end
    end
  end

  defp parse_until_told(text, count) do
    {:ok, %Message{}} = Message.parse(text)

    receive do
      :enough -> count + 1
    after
      0 -> parse_until_told(text, count + 1)
    end
  end
end
