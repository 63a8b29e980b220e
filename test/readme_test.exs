defmodule ReadmeTest do
  # What README.md says is so: its code runs in the order in which it is read, its commands are there, its tables and
  # figures are those of the library.

  # The modules that the text defines, and its stack's name, are known to the whole VM.
  use ExUnit.Case, async: false

  import ExUnit.CaptureIO
  import Sippet.Wait

  alias Sippet.{Document, Headers, Message}

  @readme "README.md"
  @text File.read!(@readme)
  @external_resource @readme

  defp core?(block), do: block.text =~ "defmodule Hello"

  # The stack of the text listens at a port that is free here. The URIs of its requests leave out the default port.
  defp here(port) do
    fn text ->
      text
      |> String.replace("5060", Integer.to_string(port))
      |> String.replace("sip:127.0.0.1", "sip:127.0.0.1:#{port}")
    end
  end

  describe "the examples" do
    test "parse" do
      for block <- Document.elixir(@readme),
          not (block.text =~ "iex>"),
          do: assert(Code.string_to_quoted!(block.text, file: @readme, line: block.line))
    end

    test "give what they say" do
      blocks = Enum.filter(Document.elixir(@readme), &(&1.text =~ "iex>"))
      assert length(blocks) >= 2
      Document.run(blocks)
    end

    test "name the dependency" do
      [block] = Enum.reject(Document.elixir(@readme), &Document.run?/1)
      {deps, _binding} = Code.eval_string("[#{block.text |> String.split("\n") |> Enum.at(1)}]")
      assert [[{app, [path: _]}]] = deps
      assert app == Mix.Project.config()[:app]
    end

    test "send two requests to the first core, which prints the answers" do
      port = Document.free_port()
      {programs, _examples} = Enum.split_with(runnable(), &(not (&1.text =~ "iex>")))
      test = self()

      printed =
        capture_io(fn ->
          # `run/3` ends the stack when the blocks are through, so the last one waits.
          wait = %{List.last(programs) | text: "ReadmeTest.await_answers(2)", line: 1}
          send(test, {:binding, Document.run(programs ++ [wait], here(port))})
        end)

      assert_received {:binding, _binding}
      assert printed |> String.split("SIP/2.0 200 OK\r\n") |> length() == 3
    end
  end

  # Waits till so many responses came to the stack of the text and the core has printed them.
  def await_answers(count) do
    device = Process.group_leader()
    wait_until(fn -> device |> StringIO.contents() |> elem(1) |> answers() >= count end)
  end

  defp answers(text), do: length(String.split(text, "SIP/2.0 200 OK\r\n")) - 1

  defp runnable, do: Enum.filter(Document.elixir(@readme), &Document.run?/1)

  describe "the first core" do
    setup do
      port = Document.free_port()
      core = Enum.filter(Document.elixir(@readme), &core?/1)
      assert length(core) == 1
      %{core: core, port: port}
    end

    test "answers OPTIONS from a socket with 200", %{core: core, port: port} do
      {peer, peer_port} = Document.open_peer()
      request = Document.options(peer_port, "sip:127.0.0.1:#{port}")

      exchange = fn ->
        :ok = :gen_udp.send(peer, {127, 0, 0, 1}, port, request)
        assert_receive {:udp, ^peer, _ip, _port, "SIP/2.0 200 OK\r\n" <> _ = octets}
        assert Message.parse!(octets).headers.cseq == {1, :options}
      end

      run_with(core, port, exchange)
    end

    if System.find_executable("sipp") == nil, do: @tag(skip: "SIPp is not installed")

    test "takes SIPp's call", %{core: core, port: port} do
      exchange = fn ->
        arguments = ~w(-sn uac 127.0.0.1:#{port} -i 127.0.0.1 -p #{Document.free_port()} -m 1
                       -nostdin -timeout 8s)

        {output, status} =
          System.cmd("timeout", ~w(-k 1 9 sipp) ++ arguments, stderr_to_stdout: true)

        assert status == 0, output
      end

      run_with(core, port, exchange)
    end

    defp run_with(core, port, exchange) do
      call = %{hd(core) | text: "exchange.()", line: 1}
      Document.run(core ++ [call], here(port), exchange: exchange)
    end
  end

  describe "the demo" do
    test "prints the ladder" do
      argv = System.argv()
      on_exit(fn -> System.argv(argv) end)
      System.argv([])
      printed = capture_io(fn -> Code.eval_file("examples/demo.exs") end)

      [ladder] = for %{language: "", text: text} <- Document.blocks(@readme), do: text
      assert printed =~ ladder
    end
  end

  describe "what it names" do
    test "the scripts are there, and can be run" do
      scripts = @text |> scan(~r/script\/[a-z-]+/) |> Enum.uniq()
      assert "script/demo" in scripts and "script/test" in scripts

      for script <- scripts,
          do: assert(Bitwise.band(File.stat!(script).mode, 0o111) != 0, "#{script} can't be run")
    end

    test "the files are there" do
      for [_, path] <- Regex.scan(~r/\]\(([^)]+)\)/, @text),
          not String.starts_with?(path, "http"),
          do: assert(File.exists?(path), "#{path} is not there")

      for file <- scan(@text, ~r/(?<=mix run )[\w\/.]+/), do: assert(File.exists?(file))
    end

    test "the versions are those that the project asks for" do
      [rust] = Regex.run(~r/(?<=rust-version = ")[\d.]+/, File.read!("Cargo.toml"))
      assert @text =~ "#{rust} or newer"
      "~> " <> elixir = Mix.Project.config()[:elixir]
      assert @text =~ "Elixir #{elixir} or newer"
    end

    test "the environment variable is the compiler's" do
      assert @text =~ "SIPPET_NIF_PATH"
      assert File.read!("lib/mix/tasks/compile.sippet_nif.ex") =~ ~s("SIPPET_NIF_PATH")
    end
  end

  describe "the headers" do
    test "in the table are the typed ones, each once" do
      rows = for "| " <> row <- String.split(@text, "\n"), do: row
      listed = rows |> Enum.flat_map(&scan(&1, ~r/(?<=`:)[a-z_]+(?=`)/)) |> Enum.sort()
      assert listed == Enum.sort(typed())
      assert @text =~ "The #{length(listed)} headers below"
    end

    test "that can be typed on demand are as many as it says" do
      assert [count] = scan(@text, ~r/(?<=types )\d+(?= of those)/)
      shaped = for %{key: nil, shape: shape} <- Headers.Table.rows(), shape != :raw, do: shape
      assert String.to_integer(count) == length(shaped)
    end

    defp typed do
      for %{key: key} <- Headers.Table.rows(), key != nil, do: Atom.to_string(key)
    end
  end

  describe "the speed" do
    test "is what bench/RESULTS.md has" do
      [names | rows] = table("bench/RESULTS.md", "parse/b2t")
      assert length(rows) == 6

      for {column, verb} <- [{"parse/b2t", "Parsing takes"}, {"print/parse", "printing"}] do
        at = Enum.find_index(names, &(&1 == column))
        ratios = for row <- rows, do: row |> Enum.at(at) |> String.to_float()
        assert @text =~ "#{verb} #{decimals(Enum.min(ratios))} to #{decimals(Enum.max(ratios))}"
      end
    end

    # The head and the rows of the first table that has this column.
    defp table(path, column) do
      path
      |> File.read!()
      |> String.split("\n")
      |> Enum.drop_while(&(not (String.starts_with?(&1, "|") and &1 =~ column)))
      |> Enum.take_while(&String.starts_with?(&1, "|"))
      |> Enum.map(fn line -> line |> String.split("|", trim: true) |> Enum.map(&String.trim/1) end)
      |> List.delete_at(1)
    end

    defp decimals(float), do: :erlang.float_to_binary(float, decimals: 2)
  end

  defp scan(text, regex), do: regex |> Regex.scan(text) |> List.flatten()
end
