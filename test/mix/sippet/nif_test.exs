defmodule Mix.Sippet.NifTest do
  use ExUnit.Case, async: true

  alias Mix.Sippet.Nif
  alias Sippet.FixtureCrate

  @moduletag :tmp_dir

  # A cargo that must not be started: it does not exist.
  @no_cargo "/nonexistent/cargo"

  setup %{tmp_dir: root} do
    FixtureCrate.write(root)
    test = self()

    nif = %Nif{
      root: root,
      crate: Path.join(root, "native/sippet_nif"),
      sources: ~w(Cargo.toml Cargo.lock .cargo native),
      library: Path.join(root, "out/priv/native/sippet_nif.so"),
      manifest: Path.join(root, "out/.mix/compile.sippet_nif"),
      target_dir: Path.join(root, "out/cargo"),
      cargo: System.find_executable("cargo"),
      profile: "dev",
      print: &send(test, {:printed, &1})
    }

    {:ok, nif: nif}
  end

  describe "compile/2 with cargo" do
    test "builds a library that loads", %{nif: nif} do
      assert Nif.compile(nif) == {:ok, []}
      assert File.regular?(nif.library)
      assert_received {:printed, "   Compiling sippet_nif" <> _}
      refute_received {:printed, "{" <> _}
    end

    test "does not start cargo when nothing changed", %{nif: nif} do
      {:ok, []} = Nif.compile(nif)
      assert Nif.compile(%{nif | cargo: @no_cargo}) == {:noop, []}
      assert Nif.compile(%{nif | cargo: nil}) == {:noop, []}
    end

    test "asks cargo when forced", %{nif: nif} do
      {:ok, []} = Nif.compile(nif)
      assert Nif.compile(nif, force: true) == {:ok, []}
    end

    test "does not trust modification times", %{nif: nif, tmp_dir: root} do
      {:ok, []} = Nif.compile(nif)
      File.touch!(Path.join(nif.crate, "src/lib.rs"), System.os_time(:second) + 10)
      assert Nif.compile(%{nif | cargo: @no_cargo}) == {:noop, []}

      source = Path.join(nif.crate, "src/lib.rs")
      %{mtime: mtime} = File.stat!(source, time: :posix)
      FixtureCrate.pick(root, 1)
      File.touch!(source, mtime)
      assert {:error, [_]} = Nif.compile(%{nif | cargo: nil})
    end

    test "builds anew when a file of any kind is changed, added or removed", %{
      nif: nif,
      tmp_dir: root
    } do
      {:ok, []} = Nif.compile(nif)

      for path <- ~w(Cargo.toml Cargo.lock .cargo/config.toml native/sippet_nif/headers.tbl) do
        file = Path.join(root, path)
        before = File.read(file)
        FixtureCrate.put(root, path, "# other\n" <> text(before))
        assert {:error, [_]} = Nif.compile(%{nif | cargo: nil}), path
        restore(file, before)
        assert Nif.compile(%{nif | cargo: nil}) == {:noop, []}
      end
    end

    test "builds anew for another profile, target or flag", %{nif: nif} do
      {:ok, []} = Nif.compile(nif)

      for other <- [profile: "release", target: "x", flags: ["-C opt-level=1"]] do
        assert {:error, [_]} = Nif.compile(struct!(%{nif | cargo: nil}, [other]))
      end
    end

    test "leaves tests and benches of a crate out", %{nif: nif, tmp_dir: root} do
      {:ok, []} = Nif.compile(nif)
      FixtureCrate.put(root, "native/sippet_nif/tests/it.rs", "#[test] fn works() {}\n")
      FixtureCrate.put(root, "native/sippet_nif/target/debug/x", "")
      assert Nif.compile(%{nif | cargo: @no_cargo}) == {:noop, []}

      FixtureCrate.put(root, "native/sippet_nif/src/target/mod.rs", "")
      assert {:error, [_]} = Nif.compile(%{nif | cargo: nil})
    end

    test "builds anew when the library is gone or is another", %{nif: nif} do
      {:ok, []} = Nif.compile(nif)
      bytes = File.read!(nif.library)

      File.rm!(nif.library)
      assert Nif.compile(nif) == {:ok, []}
      assert File.read!(nif.library) == bytes

      File.write!(nif.library, "half a libr")
      assert Nif.compile(nif) == {:ok, []}
      assert File.read!(nif.library) == bytes
    end

    test "never writes into the old library, which a VM may have mapped", context do
      %{nif: nif, tmp_dir: root} = context
      {:ok, []} = Nif.compile(nif)
      old = File.read!(nif.library)
      File.ln!(nif.library, Path.join(root, "mapped"))

      FixtureCrate.pick(root, 1)
      {:ok, []} = Nif.compile(nif)
      assert File.read!(nif.library) != old
      assert File.read!(Path.join(root, "mapped")) == old
      assert File.ls!(Path.dirname(nif.library)) == ["sippet_nif.so"]
    end

    test "two at one time both end well", %{nif: nif} do
      tasks = for _ <- 1..2, do: Task.async(fn -> Nif.compile(nif) end)
      for {status, []} <- Task.await_many(tasks, 60_000), do: assert(status in [:ok, :noop])
      assert Nif.compile(%{nif | cargo: @no_cargo}) == {:noop, []}
    end

    test "builds where the path has blanks and brackets", %{tmp_dir: tmp} = context do
      root = Path.join(tmp, ~S(a "quoted" [x] {y} ä))
      FixtureCrate.write(root)

      nif = %{
        context.nif
        | root: root,
          crate: Path.join(root, "native/sippet_nif"),
          target_dir: Path.join(root, "cargo")
      }

      assert Nif.compile(nif) == {:ok, []}
      FixtureCrate.pick(root, 1)
      assert {:error, [_]} = Nif.compile(%{nif | cargo: nil})
    end

    test "builds for a target", %{nif: nif} do
      {text, 0} = System.cmd("rustc", ["-vV"])
      [_, host] = Regex.run(~r/^host: (.+)$/m, text)
      assert Nif.compile(%{nif | target: host}) == {:ok, []}
      assert File.dir?(Path.join([nif.target_dir, host, "debug"]))
    end
  end

  describe "compile/2 and the paths of the machine" do
    test "writes other names for the folders that are to be hidden", %{nif: nif, tmp_dir: root} do
      # The debugging information of this profile names the folder of the workspace.
      {:ok, []} = Nif.compile(nif)
      assert File.read!(nif.library) =~ root

      assert Nif.compile(%{nif | hidden: [{root, "/hidden"}]}) == {:ok, []}
      refute File.read!(nif.library) =~ root
      assert File.read!(nif.library) =~ "/hidden"
    end

    test "does so where a path has blanks and quotes", %{tmp_dir: tmp} = context do
      root = Path.join(tmp, ~S(a "quoted" 'x'))
      FixtureCrate.write(root)
      crate = Path.join(root, "native/sippet_nif")
      nif = %{context.nif | root: root, crate: crate, hidden: [{root, "/hidden"}]}
      assert Nif.compile(nif) == {:ok, []}
      refute File.read!(nif.library) =~ root
    end
  end

  describe "compile/2 of a module that has the library loaded" do
    test "lets the next call load the new one", %{nif: nif, tmp_dir: root} do
      nif = %{nif | module: Sippet.FixtureNif}
      {:ok, []} = Nif.compile(nif)
      load_fixture(root, nif.library)
      assert apply(nif.module, :pick, [:one, :two]) == :one

      FixtureCrate.pick(root, 1)
      {:ok, []} = Nif.compile(nif)
      assert apply(nif.module, :pick, [:one, :two]) == :two
    end
  end

  describe "compile/2 of Rust that fails" do
    setup %{tmp_dir: root, nif: nif} do
      {:ok, []} = Nif.compile(nif)
      FixtureCrate.put_source(root, "pub fn one() -> u8 {\n    missing\n}\n")
    end

    test "gives a diagnostic with file and line", %{nif: nif} do
      assert {:error, [diagnostic]} = Nif.compile(nif)
      assert diagnostic.severity == :error
      assert diagnostic.compiler_name == "sippet_nif"
      assert diagnostic.file == Path.join(nif.crate, "src/lib.rs")
      assert diagnostic.position == 2
      assert diagnostic.message =~ "cannot find value `missing`"
      refute diagnostic.message =~ "could not compile"
      assert_received {:printed, "error[E0425]: cannot find value `missing`" <> _}
    end

    test "fails again, and builds when mended", %{nif: nif, tmp_dir: root} do
      {:error, [_]} = Nif.compile(nif)
      assert {:error, [_]} = Nif.compile(nif)

      FixtureCrate.pick(root, 1)
      assert Nif.compile(nif) == {:ok, []}
    end

    test "gives one diagnostic for each message", %{nif: nif, tmp_dir: root} do
      FixtureCrate.put_source(root, """
      #![warn(unused)]
      use std::fmt;
      pub fn one() -> u8 { missing }
      pub fn two() -> u8 { absent }
      """)

      {:error, diagnostics} = Nif.compile(nif)

      assert [{:error, 3}, {:error, 4}, {:warning, 2}] =
               diagnostics |> Enum.map(&{&1.severity, &1.position}) |> Enum.sort()
    end

    test "says what cargo said where it names no line", %{nif: nif, tmp_dir: root} do
      FixtureCrate.put(root, "native/sippet_nif/Cargo.toml", "[package]\nname = 1\n")
      assert {:error, [diagnostic]} = Nif.compile(nif)
      assert diagnostic.message =~ "error:"
      assert diagnostic.severity == :error
    end

    test "does not change Cargo.lock", %{nif: nif, tmp_dir: root} do
      FixtureCrate.write(root)
      lock = "version = 3\n"
      FixtureCrate.put(root, "Cargo.lock", lock)
      assert {:error, [diagnostic]} = Nif.compile(nif)
      assert diagnostic.message =~ "--locked"
      assert File.read!(Path.join(root, "Cargo.lock")) == lock
    end
  end

  describe "compile/2 of Rust that warns" do
    test "gives the warnings with file and line", %{nif: nif, tmp_dir: root} do
      FixtureCrate.put_source(root, "pub fn one() -> u8 {\n    let spare = 2;\n    1\n}\n")
      assert {:ok, [warning]} = Nif.compile(nif)
      assert %{severity: :warning, position: 2} = warning
      assert warning.message =~ "unused variable: `spare`"
    end
  end

  describe "compile/2 without a cargo that will do" do
    test "says in one sentence what to install", %{nif: nif} do
      {:error, [diagnostic]} = Nif.compile(%{nif | cargo: nil})
      assert diagnostic.message =~ "cargo was not found"
      assert diagnostic.message =~ "Rust 1.70 or newer"
      assert diagnostic.message =~ "https://rustup.rs"
      assert diagnostic.message =~ "SIPPET_NIF_PATH"
      refute diagnostic.message =~ "\n"

      message = diagnostic.message
      assert_received {:printed, ^message}
      refute_received {:printed, _}
    end

    test "refuses an older one before it stumbles over the manifest", %{nif: nif, tmp_dir: root} do
      cargo = script(root, "echo 'cargo 1.69.1 (abc 2023-01-01)'")
      {:error, [diagnostic]} = Nif.compile(%{nif | cargo: cargo})
      assert diagnostic.message =~ "needs Rust 1.70 or newer"
      assert diagnostic.message =~ "is 1.69.1"
    end

    test "reports one that dies without a word", %{nif: nif, tmp_dir: root} do
      cargo = script(root, ~s([ "$1" = --version ] && echo 'cargo 1.99.0' || exit 7))
      {:error, [diagnostic]} = Nif.compile(%{nif | cargo: cargo})
      assert diagnostic.message == "cargo ended with status 7"
    end

    test "reports its last words, though no line end follows", %{nif: nif, tmp_dir: root} do
      cargo = script(root, ~s([ "$1" = --version ] || { printf 'error: killed'; exit 1; }))
      {:error, [diagnostic]} = Nif.compile(%{nif | cargo: cargo})
      assert diagnostic.message == "error: killed"
      assert_received {:printed, "error: killed"}
    end

    test "reports one that names no library", %{nif: nif, tmp_dir: root} do
      cargo = script(root, "echo 'cargo 1.99.0'")
      {:error, [diagnostic]} = Nif.compile(%{nif | cargo: cargo})
      assert diagnostic.message =~ "named no library"
    end
  end

  describe "compile/2 with a prebuilt library" do
    setup %{tmp_dir: root, nif: nif} do
      path = Path.join(root, "prebuilt.so")
      File.write!(path, "prebuilt")
      {:ok, nif: %{nif | prebuilt: path, cargo: @no_cargo}}
    end

    test "puts it in place, once", %{nif: nif} do
      assert {:ok, [_unchecked]} = Nif.compile(nif)
      assert File.read!(nif.library) == "prebuilt"
      assert Nif.compile(nif) == {:noop, []}

      File.write!(nif.prebuilt, "newer")
      assert {:ok, [_unchecked]} = Nif.compile(nif)
      assert File.read!(nif.library) == "newer"
    end

    test "warns when it has no checksum, and names the one found", %{nif: nif} do
      assert {:ok, [%{severity: :warning, message: message}]} = Nif.compile(nif)
      assert message =~ "was taken without a checksum"
      assert message =~ "SIPPET_NIF_SHA256"
      assert message =~ Base.encode16(:crypto.hash(:sha256, "prebuilt"), case: :lower)
      assert_received {:printed, ^message}

      assert Nif.compile(nif) == {:noop, []}
      refute_received {:printed, _}
    end

    test "builds with cargo when it is no longer asked for", %{nif: nif} do
      {:ok, [_unchecked]} = Nif.compile(nif)
      assert {:error, [_]} = Nif.compile(%{nif | prebuilt: nil, cargo: nil})
    end

    test "takes it with the right checksum, in any letter case", %{nif: nif} do
      sum = Base.encode16(:crypto.hash(:sha256, "prebuilt"), case: :upper)
      assert Nif.compile(%{nif | sha256: sum <> "\n"}) == {:ok, []}
      refute_received {:printed, _}
    end

    test "refuses it with another checksum, also when it was taken before", %{nif: nif} do
      wrong = String.duplicate("0", 64)
      assert {:error, [diagnostic]} = Nif.compile(%{nif | sha256: wrong})
      assert diagnostic.message =~ "wanted is #{wrong}"
      refute File.exists?(nif.library)

      {:ok, [_unchecked]} = Nif.compile(nif)
      assert {:error, [_]} = Nif.compile(%{nif | sha256: wrong})
    end

    test "says when it is not there", %{nif: nif} do
      assert {:error, [diagnostic]} = Nif.compile(%{nif | prebuilt: "/nonexistent.so"})

      assert diagnostic.message =~
               "cannot read the prebuilt library /nonexistent.so: no such file"
    end

    test "refuses a path that depends on the current folder", %{nif: nif} do
      assert {:error, [diagnostic]} = Nif.compile(%{nif | prebuilt: "prebuilt.so"})
      assert diagnostic.message =~ "absolute"
    end
  end

  defp text({:ok, text}), do: text
  defp text({:error, :enoent}), do: ""

  defp restore(file, {:ok, text}), do: File.write!(file, text)
  defp restore(file, {:error, :enoent}), do: File.rm!(file)

  defp script(root, body) do
    path = Path.join(root, "cargo")
    File.write!(path, "#!/bin/sh\n" <> body <> "\n")
    File.chmod!(path, 0o755)
    path
  end

  # The module has to be one that the VM can load again by itself: a file in the code path.
  defp load_fixture(root, library) do
    ebin = Path.join(root, "ebin")
    File.mkdir_p!(ebin)

    source = """
    defmodule Sippet.FixtureNif do
      @compile {:autoload, false}
      @on_load :load
      def load, do: :erlang.load_nif(#{inspect(String.to_charlist(Path.rootname(library)))}, 0)
      def pick(_one, _two), do: :erlang.nif_error(:nif_not_loaded)
    end
    """

    FixtureCrate.put(root, "fixture_nif.ex", source)

    files = [Path.join(root, "fixture_nif.ex")]
    {:ok, [_], _} = Kernel.ParallelCompiler.compile_to_path(files, ebin, return_diagnostics: true)
    Code.prepend_path(ebin)
    on_exit(fn -> Code.delete_path(ebin) end)
  end
end
