# Runs an example until Ctrl-C:
#
#     mix run examples/run.exs NAME [--port 5060] [--address 127.0.0.1] [--domain example.com] [--server 'sip:…;lr'] [--ring 1000] [--file PATH] [--user NAME:PASSWORD]
#
# guides/examples.md says what each is, and how to try it.

defmodule Examples.Runner do
  @switches [
    nat: :boolean,
    port: :integer,
    address: :string,
    ring: :integer,
    file: :string,
    domain: :keep,
    server: :keep,
    user: :keep
  ]

  def main([name | arguments]) do
    case OptionParser.parse(arguments, strict: @switches) do
      {options, [], []} -> run(module(name), options)
      _unknown -> usage()
    end
  end

  def main([]), do: usage()

  defp run(nil, _options), do: usage()

  defp run(module, options) do
    options = options |> gathered(:domain, :domains) |> gathered(:server, :servers) |> users()
    options = if options[:domains], do: [domain: hd(options[:domains])] ++ options, else: options
    {:ok, _pid} = module.start_link(Keyword.put_new(options, :name, :example))
    {:ok, {ip, port}} = Sippet.Transports.UDP.sockname(:example)
    IO.puts("#{inspect(module)} listens on #{:inet.ntoa(ip)}:#{port} (UDP). Ctrl-C ends.")
    Process.sleep(:infinity)
  end

  # What may be given several times is one list.
  defp gathered(options, switch, option) do
    case Keyword.pop_values(options, switch) do
      {[], options} -> options
      {values, options} -> [{option, values} | options]
    end
  end

  defp users(options) do
    case Keyword.pop_values(options, :user) do
      {[], options} -> options
      {users, options} -> [users: Map.new(users, &user/1)] ++ options
    end
  end

  defp user(text) do
    case String.split(text, ":", parts: 2) do
      [name, password] -> {name, password}
      [_no_password] -> usage()
    end
  end

  # Of the names that there are: what was typed makes no atom.
  defp module(name) do
    if name in names() do
      Module.concat(
        Examples,
        name |> Macro.camelize() |> String.replace(["Uas", "Pbx"], &String.upcase/1)
      )
    end
  end

  defp usage do
    names = Enum.join(names(), ", ")
    IO.puts(:stderr, "usage: mix run examples/run.exs NAME [OPTIONS]; the names are #{names}")
    exit({:shutdown, 2})
  end

  def files, do: __DIR__ |> Path.join("*.ex") |> Path.wildcard()

  # The names that can be started: the records of calls are a part of another example.
  defp names, do: Enum.map(files(), &Path.basename(&1, ".ex")) -- ["call_records"]
end

{:ok, _modules, _warnings} = Kernel.ParallelCompiler.require(Examples.Runner.files())
Examples.Runner.main(System.argv())
