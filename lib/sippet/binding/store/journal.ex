defmodule Sippet.Binding.Store.Journal do
  @moduledoc false
  # The file of a store: a disk_log of {address-of-record, bindings}, of which the last entry
  # counts. It begins with a mark, so that no other log is taken for one, and is written anew when
  # it has grown: beside the old file, which then has its name. Whenever the VM is killed, one of
  # the two is whole.
  #
  # A log that was not closed is not repaired by disk_log, but read as far as it can be and
  # written anew.

  alias Sippet.Binding

  @mark {:sippet_bindings, 1}

  # What the name of a file ends with while it is written.
  @new ".new"

  @enforce_keys [:log]
  defstruct @enforce_keys

  @type t :: %__MODULE__{log: term}
  @type entry :: {String.t(), [Binding.t()]}

  @doc """
  Calls a function with each entry of a file, if there is one, and returns how many bytes can't be
  read.
  """
  @spec read(Path.t(), (String.t(), [Binding.t()] -> term)) ::
          {:ok, bad_bytes :: non_neg_integer} | {:error, term}
  def read(path, fun) do
    if File.exists?(path) do
      with {:ok, log} <- open(path, :read_only) do
        result = chunks(:disk_log.chunk(log, :start), log, fun, :unmarked, 0)
        :disk_log.close(log)
        result
      end
    else
      {:ok, 0}
    end
  end

  defp chunks({:error, reason}, _log, _fun, _state, _bad), do: {:error, reason}

  defp chunks({continuation, terms}, log, fun, state, bad),
    do: chunks({continuation, terms, 0}, log, fun, state, bad)

  defp chunks({continuation, [@mark | entries], more}, log, fun, :unmarked, bad),
    do: chunks({continuation, entries, more}, log, fun, :marked, bad)

  defp chunks({continuation, entries, more}, log, fun, :marked, bad) do
    {known, foreign} = Enum.split_with(entries, &entry?/1)
    for {key, bindings} <- known, do: fun.(key, Enum.map(bindings, &known/1))
    bad = bad + more + Enum.sum(Enum.map(foreign, &:erlang.external_size/1))
    chunks(:disk_log.chunk(log, continuation), log, fun, :marked, bad)
  end

  defp chunks(:eof, _log, _fun, :marked, bad), do: {:ok, bad}
  defp chunks(_other, _log, _fun, :unmarked, _bad), do: {:error, :not_a_file_of_bindings}

  defp entry?({key, bindings}) when is_binary(key) and is_list(bindings),
    do: Enum.all?(bindings, &is_struct(&1, Binding))

  defp entry?(_foreign), do: false

  # A binding of another version of the library has other fields.
  defp known(%Binding{} = binding), do: struct(Binding, Map.from_struct(binding))

  @doc """
  Writes a file beside the one that there may be. `each` calls the function that it is given with
  lists of entries.
  """
  @spec write(Path.t(), (([entry] -> :ok) -> term)) :: :ok | {:error, term}
  def write(path, each) do
    with :ok <- absent(File.rm(path <> @new)),
         {:ok, log} <- open(path <> @new, :read_write),
         do: fill(log, each)
  end

  defp absent({:error, :enoent}), do: :ok
  defp absent(other), do: other

  defp fill(log, each) do
    written!(:disk_log.log(log, @mark))
    each.(fn entries -> written!(:disk_log.log_terms(log, Enum.map(entries, &kept/1))) end)
    :disk_log.sync(log)
  catch
    {:failed, reason} -> {:error, reason}
  after
    :disk_log.close(log)
  end

  defp written!(:ok), do: :ok
  defp written!({:error, reason}), do: throw({:failed, reason})

  @doc """
  Puts the file that was written in the place of the other, and opens it for more.
  """
  @spec adopt(Path.t()) :: {:ok, t} | {:error, term}
  def adopt(path) do
    with :ok <- File.rename(path <> @new, path),
         :ok <- sync_folder(path),
         {:ok, log} <- open(path, :read_write),
         do: {:ok, %__MODULE__{log: log}}
  end

  # The name of the file is on the disk when its folder is.
  defp sync_folder(path) do
    with {:ok, folder} <- :file.open(Path.dirname(path), [:read, :raw, :directory]) do
      result = :file.sync(folder)
      :file.close(folder)
      result
    end
  end

  @doc """
  Adds an entry. It is on the disk after the next `sync/1`.
  """
  @spec append(t, entry) :: :ok | {:error, term}
  def append(%__MODULE__{log: log}, entry), do: :disk_log.log(log, kept(entry))

  defp kept({key, bindings}), do: {key, Enum.map(bindings, &Binding.storable/1)}

  @spec sync(t) :: :ok | {:error, term}
  def sync(%__MODULE__{log: log}), do: :disk_log.sync(log)

  @spec close(t) :: :ok | {:error, term}
  def close(%__MODULE__{log: log}), do: :disk_log.close(log)

  defp open(path, mode) do
    # The log's name is a term for this process alone.
    options = [name: make_ref(), file: String.to_charlist(path), type: :halt, mode: mode]

    case :disk_log.open(options) do
      {:ok, log} -> {:ok, log}
      {:repaired, log, _recovered, _bad} -> {:ok, log}
      {:error, reason} -> {:error, reason}
    end
  end
end
