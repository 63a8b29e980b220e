defmodule Sippet.NativeReload do
  @moduledoc false
  # What happens when the module of the NIF is loaded anew. It runs in a VM of its own: a purge may end any process.

  alias Sippet.{Message, Native}

  @message "OPTIONS sip:b@h SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK1\r\nMax-Forwards: 70\r\n" <>
             "From: <sip:a@h>;tag=1\r\nTo: <sip:b@h>\r\nCall-ID: a\r\nCSeq: 1 OPTIONS\r\n"

  @doc """
  Tries to. Returns the result, what was logged, and whether a message is parsed afterwards.
  """
  def load do
    # Loaded before, or there would be nothing to replace.
    {_headers, _names} = Native.table_hashes()
    :ok = :logger.add_handler(__MODULE__, __MODULE__, %{config: %{pid: self()}})
    result = :code.load_file(Native)
    :ok = :logger.remove_handler(__MODULE__)
    {result, logged(""), match?({:ok, %Message{}}, Message.parse(@message <> "\r\n"))}
  end

  @doc false
  # A handler of `:logger`.
  def log(event, %{config: %{pid: pid}}),
    do: send(pid, {:logged, IO.iodata_to_binary(:logger_formatter.format(event, %{}))})

  defp logged(text) do
    receive do
      {:logged, more} -> logged(text <> more)
    after
      0 -> text
    end
  end

  @doc """
  Tries to, and purges what is old, so often, while processes parse. Returns how many messages each has parsed.
  """
  def load_under_way(times) do
    {_headers, _names} = Native.table_hashes()
    large = @message <> String.duplicate("X-Header: some words\r\n", 2_000)

    parsers =
      for text <- [@message, large],
          do: Task.async(fn -> parse_until_told(text <> "\r\n", 0) end)

    for _ <- 1..times do
      {:error, :on_load_failure} = :code.load_file(Native)
      :code.purge(Native)
    end

    for parser <- parsers do
      send(parser.pid, :enough)
      Task.await(parser)
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
