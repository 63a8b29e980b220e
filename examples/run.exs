# Runs an example until Ctrl-C:
#
#     mix run examples/run.exs NAME [--port 5060] [--address 127.0.0.1] [--domain example.com] [--next-hop sip:…]
#
# guides/examples.md says what each is, and how to try it.

defmodule Examples.Runner do
  @switches [port: :integer, address: :string, ring: :integer, domain: :keep, next_hop: :string]

  def main([name | arguments]) do
    case OptionParser.parse(arguments, strict: @switches) do
      {options, [], []} -> run(module(name), options)
      _unknown -> usage()
    end
  end

  def main([]), do: usage()

  defp run(nil, _options), do: usage()

  defp run(module, options) do
    {domains, options} = Keyword.pop_values(options, :domain)
    options = if domains == [], do: options, else: [domains: domains] ++ options
    {:ok, _pid} = module.start_link(Keyword.put_new(options, :name, :example))
    {:ok, {ip, port}} = Sippet.Transports.UDP.sockname(:example)
    IO.puts("#{inspect(module)} listens on #{:inet.ntoa(ip)}:#{port} (UDP). Ctrl-C ends.")
    Process.sleep(:infinity)
  end

  # Of the names that there are: what was typed makes no atom.
  defp module(name) do
    for file <- files(), Path.basename(file, ".ex") == name do
      Module.concat(Examples, name |> Macro.camelize() |> String.replace("Uas", "UAS"))
    end
    |> List.first()
  end

  defp usage do
    names = Enum.map_join(files(), ", ", &Path.basename(&1, ".ex"))
    IO.puts(:stderr, "usage: mix run examples/run.exs NAME [OPTIONS]; the names are #{names}")
    System.halt(2)
  end

  def files, do: __DIR__ |> Path.join("*.ex") |> Path.wildcard()
end

{:ok, _modules, _warnings} = Kernel.ParallelCompiler.require(Examples.Runner.files())
Examples.Runner.main(System.argv())
