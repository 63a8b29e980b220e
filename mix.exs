defmodule Sippet.MixProject do
  use Mix.Project

  @version "2.0.0-dev"

  def project do
    [
      app: :sippet,
      version: @version,
      elixir: "~> 1.14",
      description: "SIP (RFC 3261) middleware library with a parser in Rust",
      # Last, because the compiler of the Rust parser is itself one of the modules that Elixir compiles.
      compilers: Mix.compilers() ++ [:sippet_nif],
      elixirc_paths: elixirc_paths(Mix.env()),
      start_permanent: Mix.env() == :prod,
      package: package(),
      docs: &docs/0,
      aliases: [docs: ["docs", &copy_pictures/1]],
      deps: deps()
    ]
  end

  def application, do: [extra_applications: [:logger, :crypto, :public_key, :ssl]]

  def cli, do: [preferred_envs: [docs: :docs]]

  defp elixirc_paths(:test), do: ["lib", "test/support", "examples"]
  defp elixirc_paths(_env), do: ["lib"]

  # A dependency that Hex has to fetch, even of one environment, would stop every Mix command where Hex is not
  # installed, in this project and in those that depend on it.
  defp deps do
    if Code.ensure_loaded?(Hex),
      do: [{:ex_doc, "~> 0.34", only: :docs, runtime: false}],
      else: []
  end

  defp docs do
    [
      main: "readme",
      extras:
        ["README.md"] ++
          guides() ++ examples() ++ benchmarks() ++ ["SECURITY.md", "CHANGELOG.md", "LICENSE"],
      assets: %{"guides/assets" => "assets"},
      groups_for_extras: [Guides: ~r"^guides/", Examples: ~r"/examples/"],
      groups_for_modules: [
        Stack: [Sippet, Sippet.Core, Sippet.Telemetry],
        Tracing: ~r/^Sippet\.Trace/,
        Messages: [
          ~r/^Sippet\.Message/,
          Sippet.Flow,
          Sippet.Headers,
          Sippet.URI,
          Sippet.ParseError
        ],
        "User agents, registrars, proxies": [
          Sippet.Dialog,
          Sippet.UAS,
          Sippet.B2BUA,
          Sippet.SessionTimer,
          Sippet.Subscription,
          Sippet.Refer,
          Sippet.Replaces,
          Sippet.Registration,
          ~r/^Sippet\.Binding/,
          ~r/^Sippet\.Proxy/
        ],
        Transactions: ~r/^Sippet\.Transactions/,
        Transports: [~r/^Sippet\.Transport/, Sippet.Router],
        "Digest authentication": ~r/^Sippet\.DigestAuth/,
        Testing: ~r/^Sippet\.Test($|\.)/
      ],
      nest_modules_by_prefix: [Sippet.Transactions]
    ]
  end

  defp benchmarks do
    [
      {"bench/README.md", filename: "benchmarks", title: "Benchmarks"},
      {"bench/RESULTS.md", filename: "results", title: "Results"}
    ]
  end

  # ExDoc takes no source files: each example is a page that holds it.
  defp examples do
    folder = Path.join(Mix.Project.build_path(), "examples")
    File.mkdir_p!(folder)

    for file <- Enum.sort(Path.wildcard("examples/*.ex")) do
      page = Path.join(folder, Path.basename(file, ".ex") <> "_example.md")
      File.write!(page, "# #{file}\n\n```elixir\n#{File.read!(file)}```\n")
      page
    end
  end

  # The README's pictures stand where its links have them also in the documentation.
  defp copy_pictures(_arguments) do
    for [_all, path] <- Regex.scan(~r/\]\(([\w\/]+\.svg)\)/, File.read!("README.md")) do
      target = Path.join("doc", path)
      File.mkdir_p!(Path.dirname(target))
      File.cp!(path, target)
    end
  end

  # In the order of reading; what is not named here comes behind.
  defp guides do
    first =
      for name <-
            ~w(getting-started writing-a-core beyond-the-basic-call sdp b2bua registrar examples pbx messages transactions
               writing-a-transport
               digest-authentication testing-your-core telemetry call-records tracing running-in-production migrating-from-1.0),
          do: "guides/#{name}.md"

    first ++ (Enum.sort(Path.wildcard("guides/*.md")) -- first)
  end

  defp package do
    [
      licenses: ["BSD-3-Clause"],
      links: %{"RFC 3261" => "https://www.rfc-editor.org/rfc/rfc3261"},
      files:
        ~w(lib examples native/sip{_parser,pet_nif}/{src,Cargo.toml,build.rs,*.tbl}
                Cargo.toml Cargo.lock .cargo mix.exs README.md SECURITY.md LICENSE CHANGELOG.md .formatter.exs)
    ]
  end
end
