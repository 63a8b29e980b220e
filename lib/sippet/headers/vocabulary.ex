defmodule Sippet.Headers.Vocabulary do
  @moduledoc false
  # The methods and transport protocols that are atoms in a message. The lists are closed: any other name
  # stays a string, whatever atoms the VM happens to know.

  @methods ~w(ACK BYE CANCEL INFO INVITE MESSAGE NOTIFY OPTIONS PRACK PUBLISH PULL PUSH REFER REGISTER
              STORE SUBSCRIBE UPDATE)

  @protocols ~w(AMQP DCCP DTLS SCTP STOMP TCP TLS UDP WS WSS)

  @doc """
  The known methods, upper-case and sorted.
  """
  @spec methods() :: [String.t()]
  def methods, do: @methods

  @doc """
  The known transport protocols, upper-case and sorted.
  """
  @spec protocols() :: [String.t()]
  def protocols, do: @protocols

  @doc """
  The atom of a known method in any letter case; any other string as it is.
  """
  @spec method(String.t()) :: atom | String.t()
  def method(name) when is_binary(name), do: known_method(String.upcase(name, :ascii), name)

  @doc """
  The atom of a known protocol in any letter case; any other string in upper case.
  """
  @spec protocol(String.t()) :: atom | String.t()
  def protocol(name) when is_binary(name), do: known_protocol(String.upcase(name, :ascii))

  @doc """
  What stands on the wire for a method: the upper-case name of an atom, a string as it is.
  """
  @spec method_name(atom | String.t()) :: String.t()
  def method_name(method)

  for name <- @methods do
    atom = name |> String.downcase() |> String.to_atom()
    def method_name(unquote(atom)), do: unquote(name)
    defp known_method(unquote(name), _name), do: unquote(atom)
  end

  def method_name(method) when is_binary(method), do: method

  def method_name(method) when is_atom(method) and method not in [nil, true, false],
    do: method |> Atom.to_string() |> String.upcase(:ascii)

  defp known_method(_upper, name), do: name

  for name <- @protocols do
    atom = name |> String.downcase() |> String.to_atom()
    defp known_protocol(unquote(name)), do: unquote(atom)
  end

  defp known_protocol(upper), do: upper
end
