defmodule Mix.Tasks.Compile.SippetNifTest do
  use ExUnit.Case, async: true

  # The task in a Mix project of its own, laid out as this one is, driven by the real `mix`.

  alias Mix.Tasks.Compile.SippetNif
  alias Sippet.FixtureCrate

  @moduletag :tmp_dir

  @mixfile """
  defmodule Sippet.MixProject do
    use Mix.Project

    def project do
      [
        app: :sippet,
        version: "0.1.0",
        compilers: Mix.compilers() ++ [:sippet_nif],
        # It takes a good part of a compilation here, and there is none that matters.
        consolidate_protocols: false
      ]
    end
  end
  """

  @library "_build/dev/lib/sippet/priv/native/sippet_nif.so"

  setup %{tmp_dir: root} do
    FixtureCrate.write(root)
    FixtureCrate.put(root, "mix.exs", @mixfile)

    # The compiler, and no task that needs the library.
    for path <- ["lib/mix/tasks/compile.sippet_nif.ex" | Path.wildcard("lib/mix/sippet/*.ex")] do
      File.mkdir_p!(Path.join(root, Path.dirname(path)))
      File.cp!(path, Path.join(root, path))
    end

    :ok
  end

  test "builds once, tells a missing cargo, and cleans", %{tmp_dir: root} do
    library = Path.join(root, @library)
    path = path_without_cargo(root)

    assert {fresh, 0} = mix(root, ["compile"])
    assert fresh =~ "Compiling sippet_nif v0.1.0"
    assert File.regular?(library)

    # Nothing to do: no word, and no need of cargo.
    assert {"", 0} = mix(root, ["compile"], [{"PATH", path}])

    File.rm!(library)
    assert {missing, status} = mix(root, ["compile"], [{"PATH", path}])
    assert status != 0

    assert [sentence] = String.split(missing, "\n", trim: true)
    assert sentence =~ "install Rust 1.70 or newer from https://rustup.rs"

    assert {_, 0} = mix(root, ["compile"])
    assert File.regular?(library)

    clean = "Mix.Tasks.Compile.SippetNif.clean()"
    assert {_, 0} = mix(root, ["run", "--no-compile", "-e", clean])
    refute File.exists?(library)
    refute File.exists?(Path.join(root, "_build/dev/lib/sippet/cargo"))
    assert {_, 0} = mix(root, ["clean"])
  end

  test "builds what the environment variables say", %{tmp_dir: root} do
    {host, 0} = System.cmd("rustc", ["-vV"])
    [_, host] = Regex.run(~r/^host: (.+)$/m, host)
    cargo = Path.join(root, "_build/dev/lib/sippet/cargo")

    env = [{"SIPPET_CARGO_PROFILE", "dev"}, {"SIPPET_CARGO_TARGET", host}]
    assert {_, 0} = mix(root, ["compile"], env)
    assert File.dir?(Path.join([cargo, host, "debug"]))
    assert {"", 0} = mix(root, ["compile"], env)

    # The VM takes an empty variable for one to be unset, env does not.
    assert {_, 0} =
             System.cmd("env", ["SIPPET_CARGO_PROFILE=", "mix", "compile"], options(root, []))

    assert File.dir?(Path.join(cargo, "release"))

    assert {text, 0} = mix(root, ["compile"], [{"RUSTFLAGS", "-C debuginfo=1"}])
    assert text =~ "Compiling sippet_nif"

    kept = Path.join(root, "kept")
    env = [{"SIPPET_CARGO_PROFILE", "dev"}, {"SIPPET_CARGO_TARGET_DIR", kept}]
    assert {_, 0} = mix(root, ["compile"], env)
    assert {_, 0} = mix(root, ["clean"], env)
    assert File.dir?(Path.join(kept, "debug"))
    assert {text, 0} = mix(root, ["compile"], env)
    refute text =~ "Compiling sippet_nif"
  end

  test "makes a library that holds no path of the machine, also with flags of the user's", %{
    tmp_dir: root
  } do
    # The debugging information of this profile names the folder of the workspace.
    profile = {"SIPPET_CARGO_PROFILE", "dev"}

    for env <- [
          [],
          [{"RUSTFLAGS", "-C opt-level=1"}],
          [{"CARGO_ENCODED_RUSTFLAGS", "-C\x1Fopt-level=2"}, {"RUSTFLAGS", "-C no-such-flag"}],
          [{"CARGO_BUILD_RUSTFLAGS", "-C opt-level=3"}]
        ] do
      assert {_, 0} = mix(root, ["compile"], [profile | env])
      library = File.read!(Path.join(root, @library))
      refute library =~ root, inspect(env)
      assert library =~ "/sippet"
    end
  end

  test "the library of this build holds no path of the machine" do
    library = File.read!(Application.app_dir(:sippet, "priv/native/sippet_nif.so"))
    home = System.user_home!()
    cargo = System.get_env("CARGO_HOME") || Path.join(home, ".cargo")

    # What a library without a path would prove nothing by.
    assert library =~ "/registry/src/"

    for folder <- [File.cwd!(), Mix.Project.app_path(), cargo, home], folder != "/" do
      refute library =~ folder <> "/"
    end
  end

  test "takes a prebuilt library, and refuses one with another checksum", %{tmp_dir: root} do
    prebuilt = Path.join(root, "prebuilt.so")
    File.write!(prebuilt, "prebuilt")
    sum = Base.encode16(:crypto.hash(:sha256, "prebuilt"), case: :lower)
    env = [{"PATH", path_without_cargo(root)}, {"SIPPET_NIF_PATH", prebuilt}]

    assert {text, status} = mix(root, ["compile"], [{"SIPPET_NIF_SHA256", "beef"} | env])
    assert status != 0
    assert text =~ "#{prebuilt} has the SHA-256 #{sum}, but wanted is beef"
    refute File.exists?(Path.join(root, @library))

    assert {text, 0} = mix(root, ["compile"], [{"SIPPET_NIF_SHA256", sum} | env])
    refute text =~ "checksum"
    assert File.read!(Path.join(root, @library)) == "prebuilt"
  end

  test "takes a prebuilt library from the project's configuration", %{tmp_dir: root} do
    prebuilt = Path.join(root, "prebuilt.so")
    File.write!(prebuilt, "prebuilt")
    sum = Base.encode16(:crypto.hash(:sha256, "prebuilt"), case: :lower)
    env = [{"PATH", path_without_cargo(root)}]

    configure(root, nif_path: prebuilt, nif_sha256: "beef")
    assert {text, status} = mix(root, ["compile"], env)
    assert status != 0
    assert text =~ "has the SHA-256 #{sum}, but wanted is beef"
    refute File.exists?(Path.join(root, @library))

    configure(root, nif_path: prebuilt, nif_sha256: sum)
    assert {_, 0} = mix(root, ["compile"], env)
    assert File.read!(Path.join(root, @library)) == "prebuilt"

    # The environment's path stands in place of both.
    other = Path.join(root, "other.so")
    File.write!(other, "other")
    assert {text, 0} = mix(root, ["compile"], [{"SIPPET_NIF_PATH", other} | env])
    assert text =~ "other.so was taken without a checksum"
    assert File.read!(Path.join(root, @library)) == "other"

    configure(root, nif_path: :odd)
    assert {text, status} = mix(root, ["compile"], env)
    assert status != 0
    assert text =~ "expected :nif_path of :sippet to be a string"
  end

  test "stops the compilation when the Rust fails", %{tmp_dir: root} do
    FixtureCrate.put_source(root, "pub fn one() -> u8 { missing }\n")
    assert {text, status} = mix(root, ["compile"])
    assert status != 0
    assert text =~ "cannot find value `missing`"
    assert text =~ "--> native/sippet_nif/src/lib.rs:1:22"
  end

  test "two environments compile at one time", %{tmp_dir: root} do
    results =
      ~w(dev test)
      |> Enum.map(&Task.async(fn -> mix(root, ["compile"], [{"MIX_ENV", &1}]) end))
      |> Task.await_many(60_000)

    assert [{_, 0}, {_, 0}] = results

    for env <- ~w(dev test),
        do: assert(File.regular?(Path.join(root, String.replace(@library, "dev", env))))
  end

  test "watches every crate of the workspace" do
    manifest = File.read!("Cargo.toml")
    [_, members] = Regex.run(~r/^members = \[([^\]]+)\]/m, manifest)
    crates = for [_, crate] <- Regex.scan(~r/"([^"]+)"/, members), do: crate
    assert "native/sippet_nif" in crates
    assert crates -- SippetNif.sources() == []
    for source <- SippetNif.sources(), do: assert(File.exists?(source), source)
  end

  defp configure(root, options) do
    File.mkdir_p!(Path.join(root, "config"))
    text = "import Config\nconfig :sippet, #{inspect(options)}\n"
    File.write!(Path.join(root, "config/config.exs"), text)
  end

  # The environment of this run must not reach the project.
  @inherited ~w(MIX_ENV MIX_TARGET MIX_BUILD_PATH MIX_BUILD_ROOT MIX_DEPS_PATH MIX_EXS RUSTFLAGS
                CARGO_ENCODED_RUSTFLAGS CARGO_BUILD_RUSTFLAGS SIPPET_NIF_PATH SIPPET_NIF_SHA256 SIPPET_CARGO_PROFILE SIPPET_CARGO_TARGET SIPPET_CARGO_TARGET_DIR)

  defp mix(root, args, env \\ []), do: System.cmd("mix", args, options(root, env))

  defp options(root, env) do
    [cd: root, env: for(name <- @inherited, do: {name, nil}) ++ env, stderr_to_stdout: true]
  end

  # Every folder of the PATH that has a cargo is replaced by one of links to all its other programs.
  defp path_without_cargo(root) do
    System.get_env("PATH")
    |> String.split(":")
    |> Enum.uniq()
    |> Enum.with_index()
    |> Enum.map_join(":", fn {folder, index} ->
      if File.exists?(Path.join(folder, "cargo")),
        do: links(folder, Path.join(root, "bin#{index}")),
        else: folder
    end)
  end

  defp links(folder, into) do
    File.mkdir_p!(into)

    for name <- File.ls!(folder), name != "cargo" do
      File.ln_s!(Path.join(folder, name), Path.join(into, name))
    end

    into
  end
end
