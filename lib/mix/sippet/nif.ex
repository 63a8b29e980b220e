defmodule Mix.Sippet.Nif do
  @moduledoc false
  # The work behind `mix compile.sippet_nif`: decides whether the library is stale, has it built (or
  # takes a prebuilt one) and puts it in place. It knows no Mix project: every path is handed in, so
  # that a test can drive it with a crate of its own.

  alias Mix.Sippet.{Cargo, Digest, Failure}

  @enforce_keys [:root, :crate, :sources, :library, :manifest, :target_dir]
  defstruct [
    :root,
    :crate,
    :sources,
    :library,
    :manifest,
    :target_dir,
    module: nil,
    cargo: nil,
    profile: "release",
    target: nil,
    flags: [],
    hidden: [],
    prebuilt: nil,
    sha256: nil,
    print: &__MODULE__.print/1
  ]

  @typedoc """
  What is built, and where to.

    * `root` - the folder of the cargo workspace: rustc's paths start there
    * `crate` - the folder of the crate that makes the library
    * `sources` - files and folders under `root` that the library is made of
    * `library`, `manifest`, `target_dir` - where the library, the digest of its sources and cargo's
      own files go
    * `module` - the module that loads the library
    * `cargo` - path to cargo, `nil` where there is none
    * `profile`, `target` - given to cargo; no target means the machine's own
    * `flags` - whatever else changes what cargo makes
    * `hidden` - folders whose paths the library must not hold, with the names that stand in their place, the widest first
    * `prebuilt`, `sha256` - a library to use in place of cargo's, and the checksum it must have
    * `print` - gets each line of cargo's text
  """
  @type t :: %__MODULE__{
          root: Path.t(),
          crate: Path.t(),
          sources: [Path.t()],
          library: Path.t(),
          manifest: Path.t(),
          target_dir: Path.t(),
          module: module | nil,
          cargo: Path.t() | nil,
          profile: String.t(),
          target: String.t() | nil,
          flags: [String.t() | nil],
          hidden: [{Path.t(), String.t()}],
          prebuilt: Path.t() | nil,
          sha256: String.t() | nil,
          print: (String.t() -> any)
        }

  @doc """
  Brings the library up to date.

  `force: true` asks cargo (or copies the prebuilt library) even when nothing changed.
  """
  @spec compile(t, force: boolean) ::
          {Mix.Task.Compiler.status(), [Mix.Task.Compiler.Diagnostic.t()]}
  def compile(nif, opts \\ []) do
    with {:ok, digest} <- digest(nif),
         true <- Keyword.get(opts, :force, false) or stale?(nif, digest),
         {:ok, bytes, warnings} <- build(nif) do
      install(nif, bytes, digest)
      {:ok, warnings}
    else
      false -> {:noop, []}
      {:error, diagnostics} -> {:error, diagnostics}
    end
  end

  @doc "Prints a line where a compiler's messages belong."
  @spec print(String.t()) :: :ok
  def print(line), do: IO.puts(:stderr, line)

  # The digest is taken before cargo reads the sources: what is edited meanwhile is stale next time.
  defp digest(%{prebuilt: nil} = nif) do
    # The folders are left out: the same sources elsewhere make the same library.
    names = for {_folder, name} <- nif.hidden, do: name
    {:ok, Digest.of(nif.root, nif.sources, [nif.profile, nif.target | nif.flags ++ names])}
  end

  defp digest(nif) do
    with {:ok, bytes} <- read_prebuilt(nif), do: {:ok, "prebuilt " <> Digest.sha256(bytes)}
  end

  defp stale?(nif, digest) do
    case File.read(nif.library) do
      {:ok, bytes} -> File.read(nif.manifest) != {:ok, record(digest, bytes)}
      {:error, _reason} -> true
    end
  end

  # The library's own digest is there so that a half-written manifest, a library that somebody else put
  # in place, and two compilations at one time are all seen as stale.
  defp record(digest, bytes), do: "#{digest}\n#{Digest.sha256(bytes)}\n"

  defp build(%{prebuilt: nil} = nif) do
    with {:ok, artifact, warnings} <- Cargo.build(nif), do: {:ok, File.read!(artifact), warnings}
  end

  defp build(nif) do
    with {:ok, bytes} <- read_prebuilt(nif), do: {:ok, bytes, unchecked(nif, bytes)}
  end

  # Code from elsewhere that runs in the VM: whoever does not check it is told so, each time that it is put in place.
  defp unchecked(%{sha256: nil} = nif, bytes) do
    Failure.warning(
      nif,
      "warning: the prebuilt library #{nif.prebuilt} was taken without a checksum: set SIPPET_NIF_SHA256, or " <>
        ":nif_sha256 of :sippet, to the one that came with it (this library has the SHA-256 #{Digest.sha256(bytes)})"
    )
  end

  defp unchecked(_checked, _bytes), do: []

  defp read_prebuilt(%{prebuilt: path} = nif) do
    case Path.type(path) == :absolute and File.read(path) do
      false ->
        Failure.plain(nif, "the path of the prebuilt library must be absolute, got: #{path}")

      {:ok, bytes} ->
        check_sum(nif, bytes)

      {:error, reason} ->
        Failure.plain(
          nif,
          "cannot read the prebuilt library #{path}: #{:file.format_error(reason)}"
        )
    end
  end

  defp check_sum(%{sha256: nil}, bytes), do: {:ok, bytes}

  defp check_sum(nif, bytes) do
    found = Digest.sha256(bytes)

    if found == nif.sha256 |> String.trim() |> String.downcase() do
      {:ok, bytes}
    else
      Failure.plain(
        nif,
        "the prebuilt library #{nif.prebuilt} has the SHA-256 #{found}, but wanted is #{nif.sha256}"
      )
    end
  end

  # A running VM may have the old library mapped: its file is never written into. The new one comes into
  # place whole, by a rename, so that another compilation at the same time never sees half a file.
  defp install(nif, bytes, digest) do
    replace(nif.library, bytes)
    unload(nif.module)
    replace(nif.manifest, record(digest, bytes))
  end

  defp replace(path, bytes) do
    File.mkdir_p!(Path.dirname(path))
    unfinished = "#{path}.#{System.pid()}.#{System.unique_integer([:positive])}"
    File.write!(unfinished, bytes)
    File.rename!(unfinished, path)
  end

  # The next call loads the module again, and with it the new library (`iex> recompile`).
  defp unload(nil), do: :ok

  defp unload(module) do
    :code.purge(module)
    :code.delete(module)
    :code.purge(module)
  end
end
