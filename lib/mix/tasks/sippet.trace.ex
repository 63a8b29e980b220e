defmodule Mix.Tasks.Sippet.Trace do
  @shortdoc "Draws the SIP calls of a capture or a log"

  @moduledoc """
  Draws the SIP calls of a capture or a text log.

      mix sippet.trace call.pcap
      mix sippet.trace call.pcapng --format html --output call.html
      mix sippet.trace sipp_messages.log --format mermaid --call-id 1-25003@127.0.0.1

  The file is pcap, pcapng, or text: see `Sippet.Trace.read/2` for what is read. What was skipped is told on the standard
  error.

  ## Options

    * `--format` - `ladder` (the default), `mermaid`, `svg`, `html` or `log`: see `Sippet.Trace`. Without it the name of the
      output decides: `.svg`, `.html`, `.mmd` or `.log`
    * `--output` - the file to write; without it, the standard output
    * `--call-id` - only the call of this Call-ID
    * `--method` - only calls that have a message of this method, as `INVITE`; they are shown as a whole
    * `--address` - only calls that have a message from or to this IP address, as a whole
    * `--max-messages` - how many messages are read at most (10000)
    * `--name` - a name for an address, as `192.0.2.1:5060=alice`; may be given more than once
  """

  use Mix.Task

  alias Sippet.Trace

  @switches [
    format: :string,
    output: :string,
    call_id: :string,
    method: :string,
    address: :string,
    max_messages: :integer,
    name: :keep
  ]

  @impl true
  def run(arguments) do
    Mix.Task.run("compile")

    case OptionParser.parse(arguments, strict: @switches, aliases: [f: :format, o: :output]) do
      {options, [path], []} ->
        draw(path, options)

      {_options, _paths, [{switch, _value} | _]} ->
        Mix.raise("#{switch} is unknown, or its value is no good: see mix help sippet.trace")

      _other ->
        Mix.raise(
          "one file is wanted: mix sippet.trace FILE [--format ladder|mermaid|svg|html|log] [--output FILE]"
        )
    end
  end

  defp draw(path, options) do
    format = format(options)
    names = for {:name, pair} <- options, into: %{}, do: name(pair)

    case Trace.read(path, reading(options)) do
      {:ok, [], skipped} ->
        tell(skipped)
        Mix.raise("#{path}: no SIP message was found")

      {:ok, calls, skipped} ->
        calls |> Trace.draw(format, names: names) |> put(options[:output])
        tell(skipped)

      {:error, text} ->
        Mix.raise("#{path}: #{text}")
    end
  end

  defp reading(options) do
    reading = Keyword.take(options, [:call_id, :method, :address, :max_messages])

    if reading[:max_messages] == nil or reading[:max_messages] > 0,
      do: reading,
      else: Mix.raise("--max-messages is a positive number")
  end

  defp format(options) do
    wanted = options[:format] || by_name(Path.extname(options[:output] || ""))

    Enum.find(Trace.formats(), &(Atom.to_string(&1) == wanted)) ||
      Mix.raise("--format is one of #{Enum.join(Trace.formats(), ", ")}")
  end

  defp by_name(".svg"), do: "svg"
  defp by_name(".html"), do: "html"
  defp by_name(".mmd"), do: "mermaid"
  defp by_name(".log"), do: "log"
  defp by_name(_other), do: "ladder"

  defp name(pair) do
    case String.split(pair, "=", parts: 2) do
      [address, name] -> {Trace.parse_address(address), name}
      _other -> Mix.raise("--name is ADDRESS=NAME, not #{pair}")
    end
  end

  # A log may hold octets that are no text.
  defp put(text, nil), do: if(String.valid?(text), do: IO.write(text), else: IO.binwrite(text))

  defp put(text, path) do
    case File.write(path, text) do
      :ok -> Mix.shell().error("#{path}: #{byte_size(text)} octets")
      {:error, reason} -> Mix.raise("#{path}: #{:file.format_error(reason)}")
    end
  end

  defp tell(skipped) do
    for {reason, count} <- Enum.sort(skipped),
        do: Mix.shell().error("skipped #{count}: #{Trace.explain(reason)}")
  end
end
