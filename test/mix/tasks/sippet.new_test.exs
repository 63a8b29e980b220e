defmodule Mix.Tasks.Sippet.NewTest do
  # What `mix sippet.new` makes of its arguments. That its project works is in test/installer_test.exs.

  # The shell and the current folder are those of the whole VM.
  use ExUnit.Case, async: false

  import ExUnit.CaptureIO

  Code.require_file("installer/lib/mix/tasks/sippet.new.ex")

  alias Mix.Tasks.Sippet.New

  @root File.cwd!()

  setup do
    folder =
      Path.join(
        System.tmp_dir!(),
        "sippet-new-#{System.pid()}-#{System.unique_integer([:positive])}"
      )

    File.mkdir_p!(folder)
    shell = Mix.shell()
    Mix.shell(Mix.Shell.Process)
    File.cd!(folder)

    on_exit(fn ->
      File.cd!(@root)
      Mix.shell(shell)
      File.rm_rf!(folder)
    end)

    %{folder: folder}
  end

  defp new(arguments), do: New.run(arguments)

  # What it refuses, it refuses before it writes.
  defp refused(arguments) do
    before = File.ls!()
    error = assert_raise(Mix.Error, fn -> new(arguments) end)
    assert File.ls!() == before
    error.message
  end

  defp dependency(project) do
    [_, dependency] = Regex.run(~r/\{:sippet, (.+)\}/, File.read!(Path.join(project, "mix.exs")))
    dependency
  end

  defp files do
    for path <- Path.wildcard("**", match_dot: true), File.regular?(path), do: path
  end

  describe "a project" do
    test "has its files, named after it, and each of them in code is formatted" do
      new(["here/my_phone"])

      assert File.cd!("here/my_phone", &files/0) |> Enum.sort() == [
               ".formatter.exs",
               ".gitignore",
               "README.md",
               "config/config.exs",
               "config/runtime.exs",
               "lib/my_phone.ex",
               "lib/my_phone/application.ex",
               "lib/my_phone/call.ex",
               "lib/my_phone/core.ex",
               "lib/my_phone/media.ex",
               "mix.exs",
               "test/my_phone/core_test.exs",
               "test/my_phone/media_test.exs",
               "test/test_helper.exs"
             ]

      assert File.read!("here/my_phone/lib/my_phone/core.ex") =~ "defmodule MyPhone.Core do"
      assert File.read!("here/my_phone/mix.exs") =~ "app: :my_phone,"
      assert_received {:mix_shell, :info, ["\nYour project is there." <> steps]}
      assert steps =~ "\n    cd here/my_phone\n"
    end

    test "is formatted whatever its names are" do
      long = String.duplicate("Quite", 15) <> ".Long"
      new(["phone", "--module", long, "--app", "a"])

      for path <- files(), Path.extname(path) in [".ex", ".exs"] do
        text = File.read!(path)
        assert IO.iodata_to_binary([Code.format_string!(text), "\n"]) == text, path
      end

      assert File.read!("phone/lib/a/core.ex") =~ "defmodule #{long}.Core do"
    end

    test "says nothing of its template" do
      new(["my_phone"])

      for path <- files(),
          do: refute(File.read!(path) =~ ~r/<%|%>|\bapp\.ex\b|MyApp|my_app/, path)
    end

    test "may be the current folder" do
      File.mkdir!("phone")
      File.cd!("phone", fn -> new(["."]) end)
      assert File.exists?("phone/lib/phone.ex")
      assert_received {:mix_shell, :info, ["\nYour project is there." <> steps]}
      refute steps =~ "cd "
    end
  end

  describe "names" do
    test "of the application" do
      for name <- [
            "1phone",
            "MyPhone",
            "my-phone",
            "my phone",
            "_phone",
            "café",
            "phone\n",
            "phone\nx",
            ""
          ] do
        assert refused(["x", "--app", name]) =~ "starts with a lowercase ASCII letter"
      end

      assert refused([String.duplicate("a", 101)]) =~ "longer than 100"
      assert refused(["My-Phone"]) =~ "It was made of the path; --app gives another"
      refute refused(["x", "--app", "My-Phone"]) =~ "made of the path"
    end

    test "of the application that are taken" do
      for name <- ~w(sippet sippet_new logger kernel elixir crypto nil true false) do
        assert refused([name]) =~ "is taken already"
      end
    end

    test "of the module" do
      for name <- ["phone", "Phone.", "Phone.core", ".Phone", "My-Phone", "Phone\n", ""] do
        assert refused(["x", "--module", name]) =~ "Expected the name of a module"
      end

      assert refused(["x", "--module", String.duplicate("A", 100)]) =~ "Expected the name"

      for name <- ~w(Sippet Sippet.Phone Elixir Elixir.Phone String Mix.Tasks.Sippet.New) do
        assert refused(["x", "--module", name]) =~ "is taken already"
      end

      assert refused(["string"]) =~ "The name of the module is taken already"
    end
  end

  describe "the dependency" do
    test "is the checkout, as long as no version is released" do
      new(["phone"])
      assert dependency("phone") == "path: #{inspect(@root)}"
    end

    test "is a folder" do
      File.mkdir_p!("code/sippet")
      File.write!("code/sippet/mix.exs", "[app: :sippet, version: 1]")
      new(["one", "--path", Path.expand("code/sippet")])
      assert dependency("one") == ~s(path: "#{Path.expand("code/sippet")}")

      new(["work/two", "--path", "code/sippet"])
      assert dependency("work/two") == ~s(path: "../../code/sippet")

      new(["code/three", "--path", "./code/sippet"])
      assert dependency("code/three") == ~s(path: "../sippet")
    end

    test "is no folder without Sippet" do
      File.mkdir!("empty")
      assert refused(["phone", "--path", "empty"]) =~ "There is no checkout of Sippet in empty"
      assert refused(["phone", "--path", "nowhere"]) =~ "no checkout of Sippet in nowhere"
      File.write!("empty/mix.exs", "[app: :sippet_new, version: 1]")
      assert refused(["phone", "--path", "empty"]) =~ "no checkout of Sippet in empty"
    end

    test "is a repository, whose address may hold anything" do
      new(["one", "--git", "https://example.com/sippet.git"])
      assert dependency("one") == ~s(git: "https://example.com/sippet.git")

      address = ~S|file:///a "b" #{System.halt(1)}\n|
      new(["two", "--git", address])
      assert {:ok, [git: ^address]} = Code.string_to_quoted("[#{dependency("two")}]")
    end

    test "is a package" do
      new(["one", "--version", "~> 2.0"])
      assert dependency("one") == ~s("~> 2.0")
      assert refused(["two", "--version", "two"]) =~ "Expected a requirement"
    end

    test "is one" do
      assert refused(["phone", "--version", "~> 2.0", "--git", "x"]) =~ "Expected one of --path"
      assert refused(["phone", "--path", @root, "--git", "x"]) =~ "Expected one of --path"
    end
  end

  describe "what is there" do
    test "is overwritten only if the user says so" do
      new(["phone"])
      File.write!("phone/lib/phone/core.ex", "mine")

      send(self(), {:mix_shell_input, :yes?, false})
      assert refused(["phone"]) == "Nothing was written"
      assert_received {:mix_shell, :yes?, [question]}
      assert question =~ "These files in it will be overwritten: mix.exs, "
      assert question =~ "lib/phone/core.ex"
      assert File.read!("phone/lib/phone/core.ex") == "mine"

      send(self(), {:mix_shell_input, :yes?, true})
      new(["phone"])
      assert File.read!("phone/lib/phone/core.ex") =~ "defmodule Phone.Core do"
    end

    test "stays beside the project if the user says so" do
      File.mkdir!("phone")
      File.write!("phone/notes", "mine")
      send(self(), {:mix_shell_input, :yes?, true})
      new(["phone"])
      assert_received {:mix_shell, :yes?, [question]}
      assert question =~ "No file in it will be overwritten"
      assert File.read!("phone/notes") == "mine"
    end

    test "is not asked about if it is empty" do
      File.mkdir!("phone")
      new(["phone"])
      refute_received {:mix_shell, :yes?, _question}
    end

    test "is a link that leads nowhere, and is asked about" do
      File.mkdir!("phone")
      File.ln_s!(Path.expand("elsewhere"), "phone/mix.exs")
      send(self(), {:mix_shell_input, :yes?, false})
      assert refused(["phone"]) == "Nothing was written"
      assert_received {:mix_shell, :yes?, [question]}
      assert question =~ "overwritten: mix.exs."
    end

    test "is a file" do
      File.write!("phone", "")
      assert refused(["phone"]) =~ "phone is a file"
    end

    test "is an umbrella" do
      File.mkdir!("apps")
      new(["apps/one"])
      File.write!("mix.exs", ~s([apps_path: "apps"]))
      assert refused(["apps/two"]) =~ "part of the umbrella"
      new(["beside/three"])
      File.cd!("apps", fn -> assert refused(["two"]) =~ "part of the umbrella" end)
    end
  end

  describe "arguments" do
    test "are one folder, and options that are known" do
      assert refused(["one", "two"]) =~ "Expected one PATH"
      assert refused(["--app", "one"]) =~ "Expected one PATH"
      assert_raise OptionParser.ParseError, fn -> new(["one", "--sup"]) end
      assert_raise OptionParser.ParseError, fn -> new(["one", "--version"]) end
      assert File.ls!() == []
    end

    test "none, --help and --version tell about the task" do
      new(["--version"])
      version = "sippet.new #{Mix.Project.config()[:version]}"
      assert_received {:mix_shell, :info, [^version]}

      # The text itself is in the archive.
      for arguments <- [[], ["--help"], ["phone", "-h"]] do
        assert capture_io(fn -> new(arguments) end) =~ "mix sippet.new"
        assert File.ls!() == []
      end
    end
  end

  test "has the version and the Elixir of the library" do
    library = File.read!(Path.join(@root, "mix.exs"))
    installer = File.read!(Path.join(@root, "installer/mix.exs"))

    for pattern <- [~r/@version "(.+)"/, ~r/elixir: "(.+)"/] do
      assert Regex.run(pattern, installer) == Regex.run(pattern, library)
    end

    "~> " <> elixir = Mix.Project.config()[:elixir]

    [rust] =
      Regex.run(~r/(?<=rust-version = ")[\d.]+/, File.read!(Path.join(@root, "Cargo.toml")))

    new(["phone"])
    readme = File.read!("phone/README.md")
    assert readme =~ "Elixir #{elixir} or newer"
    assert readme =~ "[Rust](https://rustup.rs) #{rust} or newer"
  end
end
