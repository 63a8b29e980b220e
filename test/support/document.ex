defmodule Sippet.Document do
  @moduledoc false
  # A Markdown file whose code is executed: its fenced blocks, and what runs them one after another, as a reader would
  # paste them. `iex>` examples are checked by what they say comes out. A block is left out of the run where the line
  # before it is a comment that begins with "not run", and says why.

  import ExUnit.Assertions

  @enforce_keys [:file, :line, :language, :text, :note]
  defstruct [:file, :line, :language, :text, :note]

  @typedoc "A fenced block; `line` is that of its first line, `note` the HTML comment above it."
  @type block :: %__MODULE__{
          file: Path.t(),
          line: pos_integer,
          language: String.t(),
          text: String.t(),
          note: String.t() | nil
        }

  @spec blocks(Path.t()) :: [block]
  def blocks(file) do
    lines = file |> File.read!() |> String.split("\n") |> Enum.with_index(1)
    outside(lines, %{file: file, note: nil}, [])
  end

  @spec elixir(Path.t()) :: [block]
  def elixir(file), do: Enum.filter(blocks(file), &(&1.language == "elixir"))

  @spec run?(block) :: boolean
  def run?(block), do: block.note == nil or not String.starts_with?(block.note, "not run")

  defp outside([], _state, blocks), do: Enum.reverse(blocks)

  defp outside([{line, number} | rest], state, blocks) do
    case Regex.run(~r/^( *)```(\w*)$/, line) do
      [_, indent, language] ->
        {text, rest} = Enum.split_while(rest, fn {line, _} -> line != indent <> "```" end)
        block = block(text, number + 1, String.length(indent), language, state)
        outside(Enum.drop(rest, 1), %{state | note: nil}, [block | blocks])

      nil ->
        outside(rest, %{state | note: note(line, state.note)}, blocks)
    end
  end

  # The note of a block stands above it, with blank lines between at most.
  defp note("", note), do: note

  defp note(line, _note) do
    case Regex.run(~r/^<!-- (.+) -->$/, line) do
      [_, text] -> text
      nil -> nil
    end
  end

  defp block(lines, number, indent, language, state) do
    text = Enum.map_join(lines, "\n", fn {line, _} -> String.slice(line, indent..-1//1) end)

    %__MODULE__{
      file: state.file,
      line: number,
      language: language,
      text: text,
      note: state.note
    }
  end

  @doc """
  Runs blocks in their order, with `edit` applied to the text of each, in one shell: bindings, aliases and modules of
  one are known to those after it. Gives the bindings. Ends what the blocks have started and linked to the caller.
  """
  @spec run([block], (String.t() -> String.t()), keyword) :: keyword
  def run(blocks, edit \\ & &1, binding \\ []) do
    {:links, before} = Process.info(self(), :links)
    shell = {binding, Code.env_for_eval(file: "nofile")}

    try do
      {binding, _env} = Enum.reduce(blocks, shell, &run_block(&1, edit, &2))
      binding
    after
      {:links, links} = Process.info(self(), :links)
      Enum.each(links -- before, &stop/1)
      for block <- blocks, name <- modules(edit.(block.text)), do: purge(name)
    end
  end

  defp run_block(block, edit, shell) do
    text = edit.(block.text)

    if text =~ ~r/^iex> /m,
      do: text |> examples(block) |> Enum.reduce(shell, &example/2),
      else: shell |> evaluate(text, block.file, block.line) |> elem(1)
  end

  # Stacks are supervisors, so that they end in order; the next document may use their names.
  defp stop(pid) when is_pid(pid) do
    ref = Process.monitor(pid)
    Process.unlink(pid)
    Process.exit(pid, :shutdown)
    assert_receive {:DOWN, ^ref, :process, ^pid, _reason}, 5_000
  end

  defp stop(_port), do: :ok

  defp modules(text) do
    for [_, name] <- Regex.scan(~r/^defmodule ([\w.]+) do$/m, text), do: Module.concat([name])
  end

  defp purge(module) do
    :code.purge(module)
    :code.delete(module)
  end

  ## Examples

  # Groups of "iex>" lines, the "...>" that continue them, and what shall come out.
  defp examples(text, block) do
    text
    |> String.split("\n")
    |> Enum.with_index(block.line)
    |> Enum.reduce([], &line/2)
    |> Enum.reverse()
    |> Enum.map(&Map.put(&1, :file, block.file))
  end

  defp line({"iex> " <> code, number}, examples),
    do: [%{code: code, expected: "", line: number, open?: true} | examples]

  defp line({"...>" <> code, _number}, [example | rest]),
    do: [%{example | code: example.code <> "\n" <> String.replace_prefix(code, " ", "")} | rest]

  defp line({"", _number}, [example | rest]), do: [%{example | open?: false} | rest]

  defp line({text, _number}, [%{open?: true} = example | rest]),
    do: [%{example | expected: example.expected <> text <> "\n"} | rest]

  defp example(%{expected: ""} = example, shell),
    do: shell |> evaluate(example.code, example.file, example.line) |> elem(1)

  defp example(%{expected: "** (" <> raised} = example, shell) do
    [module, message] = String.split(raised, ") ", parts: 2)

    error =
      assert_raise Module.concat([module]), fn ->
        evaluate(shell, example.code, example.file, example.line)
      end

    assert Exception.message(error) == String.trim(message)
    shell
  end

  defp example(example, shell) do
    {value, shell} = evaluate(shell, example.code, example.file, example.line)
    {expected, _shell} = evaluate(shell, example.expected, example.file, example.line)

    assert value == expected,
           "#{example.file}:#{example.line} gives #{inspect(value)}, not #{inspect(expected)}"

    shell
  end

  defp evaluate({binding, env}, text, file, line) do
    quoted = Code.string_to_quoted!(text, file: file, line: line)
    {value, binding, env} = Code.eval_quoted_with_env(quoted, binding, %{env | file: file})
    {value, {binding, env}}
  end

  ## Network

  @doc """
  A UDP port of 127.0.0.1 that was free a moment ago.
  """
  @spec free_port() :: :inet.port_number()
  def free_port do
    {:ok, socket} = :gen_udp.open(0, ip: {127, 0, 0, 1})
    {:ok, port} = :inet.port(socket)
    :gen_udp.close(socket)
    port
  end

  @doc """
  Opens a socket of the caller on 127.0.0.1, that tells it of each datagram as `{:udp, …}`.
  """
  @spec open_peer() :: {:gen_udp.socket(), :inet.port_number()}
  def open_peer do
    {:ok, socket} = :gen_udp.open(0, [:binary, ip: {127, 0, 0, 1}, active: true])
    {:ok, port} = :inet.port(socket)
    {socket, port}
  end

  @doc """
  An OPTIONS request as text, from a peer on 127.0.0.1.
  """
  @spec options(:inet.port_number(), String.t()) :: String.t()
  def options(port, uri) do
    """
    OPTIONS #{uri} SIP/2.0
    Via: SIP/2.0/UDP 127.0.0.1:#{port};branch=#{Sippet.Message.create_branch()}
    From: <sip:alice@atlanta.com>;tag=#{Sippet.Message.create_tag()}
    To: <sip:biloxi.com>
    Call-ID: #{Sippet.Message.create_call_id()}
    CSeq: 1 OPTIONS
    Max-Forwards: 70

    """
  end
end
