defmodule Mix.Tasks.Compile.SippetNif do
  @shortdoc "Builds the Rust parser"
  @moduledoc """
  Builds the Rust parser with cargo and puts it where Sippet loads it from.

      $ mix compile
      $ SIPPET_CARGO_PROFILE=dev mix compile

  It runs by itself as the last step of `mix compile`. The library goes to
  `priv/native` of the application's build folder, one for each environment, and cargo's own files
  beside it. Cargo is started only when the library is missing or something that it is made of has
  other contents than at the last build; a build folder that is complete needs no Rust.

  ## A prebuilt library

  Where there is no Rust or no network, the library comes from elsewhere, and cargo is not used. It is what a build of
  the same version on a machine of the same kind left in `priv/native`. The path goes into the configuration of the project:

      # config/config.exs
      config :sippet,
        nif_path: "/opt/sippet/sippet_nif.so",
        nif_sha256: "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"

  `:nif_path` is absolute. With `:nif_sha256` a library with another checksum stops the compilation; without it
  a warning says that the library was not checked. The two environment variables of the same meaning, below, stand in place of both.

  ## Environment variables

    * `SIPPET_NIF_PATH` - the absolute path of a prebuilt library. `:nif_path` and `:nif_sha256` do not count then.
    * `SIPPET_NIF_SHA256` - the checksum, in hexadecimal, that the library at `SIPPET_NIF_PATH` must have.
    * `SIPPET_CARGO_PROFILE` - the cargo profile, `release` unless set.
    * `SIPPET_CARGO_TARGET` - the target triple to build for, the machine's own unless set.
    * `SIPPET_CARGO_TARGET_DIR` - the absolute path of a folder for cargo's own files, to keep them when Mix
      deletes the build folder, as it does before it compiles a dependency anew. Each checkout of Sippet
      needs a folder of its own: cargo would take one's library for the other's. For this
      reason `CARGO_TARGET_DIR`, which projects often share, is not used.

  Cargo reads its own variables as usual; a change of `RUSTFLAGS`, `CARGO_ENCODED_RUSTFLAGS`,
  `CARGO_BUILD_RUSTFLAGS` or `CARGO_BUILD_TARGET` builds anew. A variable that is set to nothing counts
  as not set.

  The library holds no path of the machine that it was built on: rustc writes `/home`, `/cargo`, `/sippet` and `/target` for
  the folders of the user, of cargo, of these sources and of the build. `rustflags` of a `target` in a cargo configuration
  of your own take the place of the flags that do this.

  Mix compiles a dependency that it fetched (from git or Hex) once. After a change of these
  variables or options run `mix deps.compile sippet --force`.

  ## Command line options

    * `--force` - asks cargo even when nothing changed
  """

  use Mix.Task.Compiler

  alias Mix.Sippet.Nif

  @recursive true

  @sources ~w(Cargo.toml Cargo.lock .cargo native/sip_parser native/sippet_nif)

  @cargo_flags ~w(RUSTFLAGS CARGO_ENCODED_RUSTFLAGS CARGO_BUILD_RUSTFLAGS CARGO_BUILD_TARGET)

  @impl true
  def run(args), do: Nif.compile(nif(), force: "--force" in args)

  @impl true
  def manifests, do: [nif().manifest]

  # Elixir's own compiler cleans first, and takes every module that is not loaded yet: this one calls no other.
  @impl true
  def clean do
    nif = nif()
    Enum.each([nif.library, nif.manifest, target_dir()], &File.rm_rf!/1)
  end

  @doc false
  def sources, do: @sources

  defp nif do
    root = File.cwd!()
    app = Mix.Project.app_path()
    {prebuilt, sha256} = prebuilt()
    target_dir = env("SIPPET_CARGO_TARGET_DIR") || target_dir()

    %Nif{
      root: root,
      crate: Path.join(root, "native/sippet_nif"),
      sources: @sources,
      library: Path.join(app, "priv/native/sippet_nif" <> extension()),
      manifest: Path.join(Mix.Project.manifest_path(), "compile.sippet_nif"),
      target_dir: target_dir,
      module: Sippet.Native,
      cargo: System.find_executable("cargo"),
      profile: env("SIPPET_CARGO_PROFILE") || "release",
      target: env("SIPPET_CARGO_TARGET"),
      flags: Enum.map(@cargo_flags, &env/1),
      hidden: hidden(root, target_dir),
      prebuilt: prebuilt,
      sha256: sha256
    }
  end

  # Where one folder is in another, the last that fits counts.
  defp hidden(root, target_dir) do
    home = System.user_home()

    # A user without a home of his own has "/".
    if(home not in [nil, "/"], do: [{home, "/home"}], else: []) ++
      if(cargo_home = env("CARGO_HOME"), do: [{cargo_home, "/cargo"}], else: []) ++
      [{root, "/sippet"}, {target_dir, "/target"}]
  end

  # One place names both: the checksum of another library would say nothing.
  defp prebuilt do
    case env("SIPPET_NIF_PATH") do
      nil -> {option(:nif_path), option(:nif_sha256)}
      path -> {path, env("SIPPET_NIF_SHA256")}
    end
  end

  defp option(name) do
    case Application.get_env(:sippet, name) do
      value when is_binary(value) or value == nil ->
        value

      value ->
        Mix.raise("expected #{inspect(name)} of :sippet to be a string, got: #{inspect(value)}")
    end
  end

  defp target_dir, do: Path.join(Mix.Project.app_path(), "cargo")

  # The VM adds the extension itself: .dll on Windows, .so everywhere else, macOS too.
  defp extension do
    case :os.type() do
      {:win32, _} -> ".dll"
      _ -> ".so"
    end
  end

  defp env(name) do
    case System.get_env(name) do
      "" -> nil
      value -> value
    end
  end
end
