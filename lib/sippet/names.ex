defmodule Sippet.Names do
  @moduledoc false
  # names.tbl at compile time: the methods, transport protocols and URI schemes that the Rust parser's build reads too.
  # The lists are closed: any other name stays a string, whatever atoms the VM happens to know.

  @path Path.expand("../../native/sip_parser/names.tbl", __DIR__)
  @external_resource @path
  @source File.read!(@path)

  @rows for line <- String.split(@source, "\n", trim: true),
            not String.starts_with?(line, "#"),
            do: line |> String.split("|") |> Enum.map(&String.trim/1)

  @methods for ["method", name] <- @rows, do: name

  @protocols (for ["protocol", name, port, carrier, secure] <- @rows do
                %{
                  name: name,
                  atom: name |> String.downcase() |> String.to_atom(),
                  port: if(port != "-", do: String.to_integer(port)),
                  carrier: String.to_atom(carrier),
                  secure?: secure == "yes"
                }
              end)

  @schemes (for ["scheme", name, protocol] <- @rows do
              %{atom: atom, port: port} = Enum.find(@protocols, &(&1.name == protocol))
              {name, atom, port}
            end)

  @type protocol :: atom | String.t()

  @doc """
  Returns the CRC-32 of the file, to be compared with the one that the native library was built from.
  """
  @spec hash() :: non_neg_integer
  def hash, do: unquote(:erlang.crc32(@source))

  @doc """
  Returns the known methods, upper-case and sorted.
  """
  @spec methods() :: [String.t()]
  def methods, do: @methods

  @doc """
  Returns the known transport protocols, upper-case and sorted.
  """
  @spec protocols() :: [String.t()]
  def protocols, do: unquote(for %{name: name} <- @protocols, do: name)

  @doc """
  Returns the atom of a known method in any letter case; any other string as it is.
  """
  @spec method(String.t()) :: atom | String.t()
  def method(name) when is_binary(name), do: known_method(String.upcase(name, :ascii), name)

  @doc """
  Returns the atom of a known protocol in any letter case; any other string in upper case.
  """
  @spec protocol(String.t()) :: protocol
  def protocol(name) when is_binary(name), do: known_protocol(String.upcase(name, :ascii))

  @doc """
  Returns the method as it is on the wire: the upper-case name of an atom, a string as it is.
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

  @doc """
  Returns the port of a sent-by that names none, or `nil` where no document says.
  """
  @spec default_port(protocol) :: :inet.port_number() | nil
  def default_port(protocol)

  @doc """
  Returns the protocol over IP that carries this one. One that is not known is taken for a stream.
  """
  @spec carrier(protocol) :: :udp | :tcp | :sctp | :dccp
  def carrier(protocol)

  @doc """
  Whether all that goes by the protocol is encrypted.
  """
  @spec secure?(protocol) :: boolean
  def secure?(protocol)

  for %{name: name, atom: atom} = protocol <- @protocols do
    def default_port(unquote(atom)), do: unquote(protocol.port)
    def carrier(unquote(atom)), do: unquote(protocol.carrier)
    def secure?(unquote(atom)), do: unquote(protocol.secure?)
    defp known_protocol(unquote(name)), do: unquote(atom)
  end

  def default_port(_unknown), do: nil
  def carrier(_unknown), do: :tcp
  def secure?(_unknown), do: false
  defp known_protocol(upper), do: upper

  @doc """
  Whether the protocol delivers what is sent, or says that it could not.
  """
  @spec reliable?(protocol) :: boolean
  def reliable?(protocol), do: carrier(protocol) in [:tcp, :sctp]

  @doc """
  Returns the protocol of a URI that names none, by its scheme; `nil` where the scheme is not one of SIP.
  """
  @spec scheme_protocol(String.t()) :: atom
  def scheme_protocol(scheme)

  @doc """
  Returns the port of a URI that names none, by its scheme; `nil` where the scheme is not one of SIP.
  """
  @spec scheme_port(String.t()) :: :inet.port_number() | nil
  def scheme_port(scheme)

  for {name, protocol, port} <- @schemes do
    def scheme_protocol(unquote(name)), do: unquote(protocol)
    def scheme_port(unquote(name)), do: unquote(port)
  end

  def scheme_protocol(scheme) when is_binary(scheme), do: nil
  def scheme_port(scheme) when is_binary(scheme), do: nil
end
