defmodule Mix.Tasks.Sippet.Trace do
  @shortdoc "Draws the SIP calls of a capture or a log"

  @moduledoc """
  Draws the SIP calls of a capture or a text log.

      mix sippet.trace call.pcap
      mix sippet.trace call.pcapng --format html --output call.html
      mix sippet.trace sipp_messages.log --format mermaid --call-id 1-25003@127.0.0.1
      mix sippet.trace b2bua.pcap --merge --method INVITE

  The file is pcap, pcapng, or text: see `Sippet.Trace.read/2` for what is read. What was skipped is told on the standard
  error.

  ## Options

    * `--format` - `ladder` (the default), `mermaid`, `svg`, `html` or `log`: see `Sippet.Trace`. Without it the name of the
      output decides: `.svg`, `.html`, `.mmd` or `.log`
    * `--output` - the file to write; without it, the standard output
    * `--call-id` - only the call of this Call-ID
    * `--method` - only calls that have a message of this method, as `INVITE`; they are shown as a
      whole
    * `--address` - only calls that have a message from or to this IP address, as a whole
    * `--merge` - draws the legs of a back-to-back user agent as one call: see
      `Sippet.Trace.merge/2`. The three options above then choose among the calls that it has
      joined
    * `--merge-header` - the name of a header: calls in which it has the same value are joined
      too; may be given more than once
    * `--leg` - a Call-ID; given for each leg of a call, it joins these, and no other call is
      drawn
    * `--max-messages` - how many messages are read at most (10000)
    * `--name` - a name for an address, as `192.0.2.1:5060=alice`; may be given more than once
  """

  use Mix.Task

  alias Sippet.Trace
  alias Sippet.Trace.Call

  @switches [
    format: :string,
    output: :string,
    call_id: :string,
    method: :string,
    address: :string,
    max_messages: :integer,
    merge: :boolean,
    merge_header: :keep,
    leg: :keep,
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

    case read(path, options) do
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

  @selection [:call_id, :method, :address]

  defp read(path, options) do
    if options[:max_messages] != nil and options[:max_messages] < 1,
      do: Mix.raise("--max-messages is a positive number")

    legs = Keyword.get_values(options, :leg)
    headers = Keyword.get_values(options, :merge_header)
    if "" in legs or "" in headers, do: Mix.raise("--leg and --merge-header have a value")

    if options[:merge] || legs != [] || headers != [],
      do: read_merged(path, options, legs, headers),
      else: Trace.read(path, Keyword.take(options, [:max_messages | @selection]))
  end

  # A leg may be without what is asked for, and so all are read.
  defp read_merged(path, options, legs, headers) do
    merging = [call_ids: legs, headers: headers] ++ if(options[:merge], do: [], else: [by: []])

    with {:ok, calls, skipped} <- Trace.read(path, Keyword.take(options, [:max_messages])) do
      calls = calls |> Trace.merge(merging) |> Trace.select(Keyword.take(options, @selection))

      {:ok, Enum.filter(calls, &(legs == [] or Enum.any?(Call.ids(&1), fn id -> id in legs end))),
       skipped}
    end
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
