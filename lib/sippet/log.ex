defmodule Sippet.Log do
  @moduledoc false
  # One line of the log: what it says about a message, and how long it may be. What it quotes comes from the network, or
  # from an exception that holds a part of a message: `Sippet.Log.Redaction` takes out what must not be there.
  #
  # How many lines there are is the caller's to say.

  alias Sippet.{Address, Flow, Message, Names, ParseError}
  alias Sippet.Log.Redaction
  alias Sippet.Message.RequestLine

  # Bytes of a line.
  @longest 1_024

  # Bytes of the name that a stack was given, and of a value of the metadata.
  @longest_name 128

  @typedoc """
  What a line is about. Each is optional:

    * `:message` - the message; or its `:summary`; or `:octets`, from which it is read; or `:error`, why it can't be read
    * `:key` - of the transaction
    * `:remote` - where the message came from
    * `:crash` - what failed: the line ends with it
  """
  @type about :: %{
          optional(:message) => Message.t() | nil,
          optional(:summary) => summary | nil,
          optional(:octets) => binary | nil,
          optional(:error) => term,
          optional(:key) => struct | nil,
          optional(:remote) => tuple | nil,
          optional(:crash) => {:error | :exit | :throw, term, Exception.stacktrace()}
        }

  @typedoc "What the metadata says about a message, and no more of it."
  @type summary :: {Message.method() | nil, call_id :: term, Flow.t() | nil}

  @doc """
  Returns the summary of a message.
  """
  @spec summary(Message.t()) :: summary
  def summary(%Message{start_line: %RequestLine{method: method}} = message),
    do: {method, message.headers[:call_id], message.source}

  def summary(%Message{headers: %{cseq: {_number, method}}} = message),
    do: {method, message.headers[:call_id], message.source}

  def summary(%Message{headers: headers, source: source}), do: {nil, headers[:call_id], source}

  @doc """
  Writes a line under the stack's name.
  """
  @spec write(atom, :logger.level(), about, iodata) :: :ok
  def write(stack, level, about, text) do
    :logger.log(level, line(stack, about, text), Map.put(metadata(about), :stack, stack))
  catch
    # What the core has failed of may be a structure that can't be printed.
    _kind, _reason ->
      :logger.log(level, line(stack, %{}, [text, ": of what can't be printed"]), %{stack: stack})
  end

  ## The line

  @doc """
  Returns the text of a line.
  """
  @spec line(atom, about, iodata) :: String.t()
  def line(stack, about, text) do
    name = Redaction.cut(inspect(stack), @longest_name)
    Redaction.cut(IO.iodata_to_binary([name, ": ", Redaction.text(text), crash(about)]), @longest)
  end

  defp crash(%{crash: {kind, reason, stacktrace}}) do
    banner = Exception.format_banner(kind, Redaction.term(reason), stacktrace)
    entries = for entry <- without_arguments(stacktrace), do: ["\n    ", entry(entry)]
    [": ", Redaction.text(banner), entries]
  end

  defp crash(_about), do: []

  defp entry(entry), do: entry |> Exception.format_stacktrace_entry() |> Redaction.escape()

  # Those of a call that failed are messages, as a rule.
  defp without_arguments(stacktrace) do
    Enum.map(stacktrace, fn
      {module, function, arguments, location} when is_list(arguments) ->
        {module, function, length(arguments), location}

      {function, arguments, location} when is_list(arguments) ->
        {function, length(arguments), location}

      entry ->
        entry
    end)
  end

  ## Its metadata

  @doc """
  Returns what the metadata of a line says: `:call_id`, `:method`, `:key`, `:source`, `:crash_reason`, as far as they are known.
  """
  @spec metadata(about) :: map
  def metadata(about) do
    [of_key(about), of_message(about), of_source(about), of_crash(about)]
    |> Enum.reduce(&Map.merge(&2, &1))
  end

  defp of_message(%{message: %Message{} = message}), do: of_message(%{summary: summary(message)})

  defp of_message(%{summary: {method, call_id, source}}) do
    call_id = if is_binary(call_id), do: %{call_id: text(call_id)}, else: %{}
    method = if method, do: %{method: text(Names.method_name(method))}, else: %{}
    source |> of_flow() |> Map.merge(call_id) |> Map.merge(method)
  end

  defp of_message(%{error: %ParseError{request: {method, lines}}}) do
    call_ids = for {"Call-ID", call_id} <- lines, do: {:call_id, text(String.trim(call_id))}
    call_ids |> Enum.take(1) |> Map.new() |> Map.put(:method, text(Names.method_name(method)))
  end

  defp of_message(%{octets: octets}) when is_binary(octets) do
    case Message.parse(octets) do
      {:ok, message} -> of_message(%{message: message})
      {:error, error} -> of_message(%{error: error})
    end
  end

  defp of_message(_about), do: %{}

  defp of_key(%{key: %{method: method} = key}),
    do: %{key: text(to_string(key)), method: text(Names.method_name(method))}

  defp of_key(_about), do: %{}

  defp of_source(%{remote: {protocol, host, port}}), do: source(protocol, host, port)
  defp of_source(_about), do: %{}

  defp of_flow(%Flow{protocol: protocol, remote: {ip, port}}), do: source(protocol, ip, port)
  defp of_flow(_none), do: %{}

  defp source(protocol, host, port), do: %{source: text("#{protocol}:#{host(host)}:#{port}")}

  defp host(host) when is_binary(host), do: host
  defp host(ip), do: Address.to_host(ip)

  defp of_crash(%{crash: {kind, reason, stacktrace}}),
    do: %{crash_reason: crash_reason(kind, Redaction.term(reason), without_arguments(stacktrace))}

  defp of_crash(_about), do: %{}

  # As Logger has it.
  defp crash_reason(:throw, value, stacktrace), do: {{:nocatch, value}, stacktrace}
  defp crash_reason(:exit, reason, stacktrace), do: {reason, stacktrace}

  defp crash_reason(:error, reason, stacktrace),
    do: {Exception.normalize(:error, reason, stacktrace), stacktrace}

  defp text(text) do
    text
    |> binary_part(0, min(byte_size(text), 2 * @longest_name))
    |> Redaction.text()
    |> Redaction.cut(@longest_name)
  end
end
