defmodule Mix.Sippet.Digest do
  @moduledoc false
  # One number for everything that a library is made of. Contents count, modification times do not:
  # they have a grain of a second, and a checkout sets them at will.

  # What lies beside a crate's Cargo.toml and is not linked into the library.
  @unlinked ~w(target tests benches examples)

  @doc """
  Digests the files at `sources` (files or folders under `root`), the machine's kind and `settings`.

  A source that does not exist is left out.
  """
  @spec of(Path.t(), [Path.t()], [String.t() | nil]) :: String.t()
  def of(root, sources, settings) do
    files = for source <- sources, file <- files(root, source), do: file
    contents = for file <- files, do: [file, 0, sha256(File.read!(Path.join(root, file))), 0]
    sha256([contents, for(setting <- machine() ++ settings, do: [setting || "", 0])])
  end

  @doc "Gives the SHA-256 of bytes in hexadecimal, in lower case."
  @spec sha256(iodata) :: String.t()
  def sha256(bytes), do: :sha256 |> :crypto.hash(bytes) |> Base.encode16(case: :lower)

  defp files(root, path) do
    case File.ls(Path.join(root, path)) do
      {:ok, names} -> for name <- Enum.sort(names), file <- entry(root, path, name), do: file
      {:error, :enotdir} -> [path]
      {:error, :enoent} -> []
    end
  end

  defp entry(root, path, name) do
    if name in @unlinked and File.exists?(Path.join([root, path, "Cargo.toml"])),
      do: [],
      else: files(root, Path.join(path, name))
  end

  # A build folder shared between a host and its containers must not hand one the other's library. The
  # middle of "x86_64-pc-linux-gnu" is a matter of the distribution, and says nothing of the kind.
  defp machine do
    parts = :erlang.system_info(:system_architecture) |> List.to_string() |> String.split("-")
    [List.first(parts), List.last(parts)]
  end
end
