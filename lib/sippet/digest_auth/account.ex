defmodule Sippet.DigestAuth.Account do
  @moduledoc false
  # A user and a secret as the functions of a program return them: text, or the atoms and integers
  # that stand for text in programs written for sippet 1.0.

  @type name :: String.t() | atom | integer
  @type secret :: name | {:ha1, %{String.t() => String.t()}}

  @doc "Whether a term stands for text."
  defguard is_name(term) when is_binary(term) or is_atom(term) or is_integer(term)

  @doc """
  The text of both; `:error` for any other term.
  """
  @spec read(term, term) ::
          {:ok, String.t(), String.t() | {:ha1, %{String.t() => String.t()}}} | :error
  def read(username, secret) when is_name(username) and is_name(secret),
    do: {:ok, to_string(username), to_string(secret)}

  def read(username, {:ha1, %{}} = digests) when is_name(username),
    do: {:ok, to_string(username), digests}

  def read(_username, _secret), do: :error
end
