defmodule Mix.Tasks.Sippet.New do
  @shortdoc "Creates a project that answers SIP calls"
  @moduledoc """
  Creates a Mix project with a SIP user agent that answers calls.

      $ mix sippet.new PATH [--module MODULE] [--app APP] [--path DIR | --git URL | --version REQUIREMENT]

  The project has a supervision tree, a core, a process for each call, a configuration, and tests
  that need no socket. It answers OPTIONS and calls as soon as it runs. PATH is the folder of the
  project, and the names of the application and of its module are made of it:

      $ mix sippet.new my_phone

  makes the application `:my_phone` and the module `MyPhone`. Folders above it are created too.

  ## Options

    * `--app` - the name of the application. Defaults to the last part of PATH.
    * `--module` - the name of the module. Defaults to the name of the application in camel case.
    * `--path` - depends on the checkout of Sippet in this folder. A relative path is relative to
      the current folder here, and to the project in its `mix.exs`.
    * `--git` - depends on the Git repository at this address.
    * `--version` - depends on the package of Hex that meets this requirement, such as `"~> 2.0"`.
      It must allow a version from 2.0 on.

  Give one of the last three at most. Without any, a released version of this task takes the package
  of its own version from Hex. A version that is not released yet, which ends with `-dev`, depends
  on the checkout that the task was built from.

  ## Existing files

  If the folder exists and is not empty, the task asks before it writes, and names the files that it
  would overwrite. Without a terminal to answer, nothing is written. Inside the `apps` of an umbrella
  the task refuses: the configuration of a project there belongs to the umbrella.

  ## Installation

      $ cd sippet/installer
      $ mix archive.build
      $ mix archive.install --force

  `mix sippet.new --version` alone prints the version of the task, and `--help` prints this text.
  """

  use Mix.Task

  @switches [app: :string, module: :string, path: :string, git: :string, version: :string]

  @version Mix.Project.config()[:version]

  # The checkout that this is built from. A package that Hex unpacked lies in none.
  @checkout Path.expand("../../../..", __DIR__)

  # An archive has no folder to read them from, so they are compiled: each template, and the file that it makes.
  # In the names of these `app` stands for the application.
  #
  # A module of the project may have the name of one of the library, as Message.Core: so templates alias their own modules
  # before those of the library, and name them by the alias.
  @templates [
    {"mix.exs", "mix.exs"},
    {"formatter.exs", ".formatter.exs"},
    {"gitignore", ".gitignore"},
    {"README.md", "README.md"},
    {"config/config.exs", "config/config.exs"},
    {"config/runtime.exs", "config/runtime.exs"},
    {"lib/app.ex", "lib/app.ex"},
    {"lib/app/application.ex", "lib/app/application.ex"},
    {"lib/app/core.ex", "lib/app/core.ex"},
    {"lib/app/call.ex", "lib/app/call.ex"},
    {"lib/app/media.ex", "lib/app/media.ex"},
    {"test/test_helper.exs", "test/test_helper.exs"},
    {"test/app/core_test.exs", "test/app/core_test.exs"},
    {"test/app/media_test.exs", "test/app/media_test.exs"}
  ]

  for {template, _target} <- @templates do
    file = Path.expand("../../../templates/#{template}.eex", __DIR__)
    @external_resource file

    defp render(unquote(template), assigns) do
      # Not every template names something.
      _ = assigns
      unquote(EEx.compile_file(file))
    end
  end

  @impl true
  def run(["--version"]), do: Mix.shell().info("sippet.new #{@version}")

  def run(arguments) do
    cond do
      "--help" in arguments or "-h" in arguments or arguments == [] -> print_help()
      true -> arguments |> OptionParser.parse!(strict: @switches) |> create()
    end
  end

  defp print_help, do: Mix.Task.rerun("help", ["sippet.new"])

  defp create({options, [path]}) do
    project = Path.expand(path)
    app = options[:app] || Path.basename(project)
    check_app!(app, options[:app] == nil)
    module = options[:module] || Macro.camelize(app)
    check_module!(module)
    check_place!(project)

    assigns = [
      app: app,
      module: module,
      dependency: dependency(Keyword.take(options, [:path, :git, :version]), project)
    ]

    files = for {template, target} <- @templates, do: file(template, target, assigns)
    ask_about_existing!(path, project, files)
    write(project, files)
    print_next_steps(path)
  end

  defp create({_options, paths}),
    do: Mix.raise("Expected one PATH, got: #{inspect(paths)}. See: mix help sippet.new")

  ## Names

  defp check_app!(app, inferred?) do
    hint = if inferred?, do: ". It was made of the path; --app gives another"

    cond do
      not (app =~ ~r/\A[a-z][a-z0-9_]*\z/) ->
        Mix.raise(
          "The name of an application starts with a lowercase ASCII letter, and has lowercase ASCII letters, " <>
            "digits and underscores, got: #{inspect(app)}#{hint}"
        )

      # An atom of a name has 255 characters at most, and some file systems have no longer names of files.
      String.length(app) > 100 ->
        Mix.raise("The name of the application is longer than 100 characters#{hint}")

      taken?(app) ->
        Mix.raise("The name of the application is taken already, got: #{inspect(app)}#{hint}")

      true ->
        :ok
    end
  end

  # Mix would load one application in place of the other. nil, true and false are no names for Mix.
  defp taken?(app) when app in ~w(sippet sippet_new nil true false), do: true
  defp taken?(app), do: is_list(:code.lib_dir(String.to_atom(app)))

  defp check_module!(name) do
    unless name =~ ~r/\A[A-Z][A-Za-z0-9_]*(\.[A-Z][A-Za-z0-9_]*)*\z/ and String.length(name) < 100 do
      Mix.raise("Expected the name of a module, such as Foo.Bar, got: #{inspect(name)}")
    end

    # A module there would be one of the library's, or hide one.
    if hd(String.split(name, ".")) in ["Sippet", "Elixir"] or
         Code.ensure_loaded?(Module.concat([name])),
       do: Mix.raise("The name of the module is taken already, got: #{inspect(name)}")
  end

  ## The dependency

  defp dependency([], project) do
    case Version.parse!(@version) do
      %{pre: [], major: major, minor: minor} -> ~s("~> #{major}.#{minor}")
      _unreleased -> dependency([path: @checkout], project)
    end
  end

  defp dependency([path: folder], project) do
    unless checkout?(Path.expand(folder)) do
      Mix.raise(
        "There is no checkout of Sippet in #{folder}. " <>
          "Say where Sippet comes from by --path, --git or --version"
      )
    end

    path =
      if Path.type(folder) == :relative,
        do: relative(Path.split(Path.expand(folder)), Path.split(project)),
        else: folder

    "path: #{quoted(path)}"
  end

  defp dependency([git: address], _project), do: "git: #{quoted(address)}"

  defp dependency([version: text], _project) do
    case Version.parse_requirement(text) do
      {:ok, _requirement} -> quoted(text)
      :error -> Mix.raise("Expected a requirement such as \"~> 2.0\", got: #{inspect(text)}")
    end
  end

  defp dependency(_several, _project),
    do: Mix.raise("Expected one of --path, --git and --version")

  defp checkout?(folder) do
    case File.read(Path.join(folder, "mix.exs")) do
      {:ok, text} -> text =~ "app: :sippet,"
      {:error, _reason} -> false
    end
  end

  defp relative([part | to], [part | from]), do: relative(to, from)
  defp relative(to, from), do: Path.join(Enum.map(from, fn _part -> ".." end) ++ to)

  # Text of the command line as a literal; one of no UTF-8 is none.
  defp quoted(text), do: inspect(text, binaries: :as_strings, printable_limit: :infinity)

  ## The place

  defp check_place!(project) do
    if File.regular?(project), do: Mix.raise("#{project} is a file")

    # The umbrella's own configuration counts there, and the project's runtime.exs does not.
    umbrella = project |> Path.join("../../mix.exs") |> Path.expand()

    with "apps" <- project |> Path.dirname() |> Path.basename(),
         {:ok, text} <- File.read(umbrella),
         true <- text =~ "apps_path:" do
      Mix.raise(
        "#{project} would be a part of the umbrella of #{umbrella}. mix sippet.new makes projects of their own: " <>
          "create it elsewhere, and move what you need"
      )
    else
      _no_umbrella -> :ok
    end
  end

  defp ask_about_existing!(path, project, files) do
    case File.ls(project) do
      {:ok, [_ | _]} -> ask!(path, for({name, _} <- files, exists?(project, name), do: name))
      _missing_or_empty -> :ok
    end
  end

  # A link that leads nowhere would be written through.
  defp exists?(project, name),
    do: match?({:ok, _stat}, project |> Path.join(name) |> File.lstat())

  defp ask!(path, names) do
    lost =
      if names == [],
        do: "No file in it will be overwritten.",
        else: "These files in it will be overwritten: #{Enum.join(names, ", ")}."

    question = "The folder #{path} exists. #{lost} Do you want to go on?"
    unless Mix.shell().yes?(question, default: :no), do: Mix.raise("Nothing was written")
  end

  ## The files

  # The length of a name moves lines, so that only now is known where they end.
  defp file(template, target, assigns) do
    text = render(template, assigns)

    text =
      if Path.extname(target) in [".ex", ".exs"],
        do: [Code.format_string!(text), "\n"],
        else: text

    {String.replace(target, ~r/\bapp\b/, assigns[:app]), text}
  end

  defp write(project, files) do
    File.mkdir_p!(project)

    File.cd!(project, fn ->
      for {name, text} <- files, do: Mix.Generator.create_file(name, text, force: true)
    end)
  end

  defp print_next_steps(path) do
    folder = if path == ".", do: "", else: "    cd #{path}\n"

    Mix.shell().info("""

    Your project is there. Get Sippet, and run the tests:

    #{folder}    mix deps.get
        mix test

    Start it, and ask it from another terminal whether it is there, or call it:

        mix run --no-halt
        sipsak -vv -s sip:127.0.0.1:5060
        sipp -sn uac 127.0.0.1:5060 -m 1

    Its README.md says what is where.
    """)

    unless System.find_executable("cargo") || System.get_env("SIPPET_NIF_PATH") do
      Mix.shell().info("""
      Sippet's parser is built by cargo, which is not here yet: install Rust from https://rustup.rs
      """)
    end
  end
end
