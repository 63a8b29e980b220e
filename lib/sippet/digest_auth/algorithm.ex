defmodule Sippet.DigestAuth.Algorithm do
  @moduledoc false
  # The algorithms of RFC 7616 §6.1 by their names on the wire. One is a hash and whether its session variant is meant,
  # "-sess", which differs in A1 only.

  alias Sippet.Native

  @type hash :: :md5 | :sha256 | :sha512_256
  @type t :: {hash, session? :: boolean}

  # Name, hash, size of a digest in hexadecimal digits, rank: the higher the stronger.
  @hashes [
    {"MD5", :md5, 32, 1},
    {"SHA-256", :sha256, 64, 2},
    {"SHA-512-256", :sha512_256, 64, 3}
  ]

  @named for {name, hash, _size, _rank} <- @hashes,
             {suffix, session?} <- [{"", false}, {"-sess", true}],
             do: {name <> suffix, {hash, session?}}

  @lower Map.new(@named, fn {name, algorithm} -> {String.downcase(name), algorithm} end)

  @doc """
  The names of all algorithms, session variants included.
  """
  @spec names() :: [String.t()]
  def names, do: Enum.map(@named, &elem(&1, 0))

  @doc """
  The algorithm of a name in any letter case; `nil` stands for a parameter that is missing.
  """
  @spec parse(String.t() | nil) :: {:ok, t} | :error
  # RFC7616§3.3 - if this is not present, it is assumed to be "MD5"
  def parse(nil), do: {:ok, {:md5, false}}
  def parse(name), do: Map.fetch(@lower, String.downcase(name, :ascii))

  @doc """
  The name without "-sess": the name of the hash.
  """
  @spec name(t) :: String.t()
  def name(algorithm)

  @doc """
  How many hexadecimal digits a digest has.
  """
  @spec size(t) :: pos_integer
  def size(algorithm)

  @doc """
  The strength, to compare by.
  """
  @spec rank(t) :: pos_integer
  def rank(algorithm)

  for {name, hash, size, rank} <- @hashes do
    def name({unquote(hash), _session?}), do: unquote(name)
    def size({unquote(hash), _session?}), do: unquote(size)
    def rank({unquote(hash), _session?}), do: unquote(rank)
  end

  @doc """
  The digest of `data`, in lower-case hexadecimal digits (RFC 8760 §2.2).
  """
  @spec hex(t, iodata) :: String.t()
  def hex({hash, _session?}, data), do: hash |> digest(data) |> Base.encode16(case: :lower)

  defp digest(:sha512_256, data), do: Native.sha512_256(data)
  defp digest(hash, data), do: :crypto.hash(hash, data)

  @doc """
  Whether two digests in hexadecimal digits are the same, in a time that says nothing of where they differ.
  """
  @spec equal?(String.t(), String.t()) :: boolean
  def equal?(expected, given) do
    byte_size(expected) == byte_size(given) and
      :crypto.hash_equals(expected, String.downcase(given, :ascii))
  end
end
