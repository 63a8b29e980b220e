defmodule Sippet.Transports.STUN do
  @moduledoc false
  # The small STUN server that RFC 5626 wants behind every SIP port over UDP: a Binding request of RFC 8489 gets
  # the address that it came from, so that a client keeps its NAT binding open and sees when it changes.
  #
  # No credentials (RFC 8489 §12), no answer to the older RFC 3489 (RFC 5626 §8), no SOFTWARE attribute: the answer
  # to a forged source shall be small.

  import Bitwise

  # RFC8489§5
  @cookie 0x2112A442
  @request 0x0001
  @success 0x0101
  @failure 0x0111

  # RFC8489§18.3.1 - the comprehension-required attributes that RFC 8489 itself defines
  @known [0x01, 0x06, 0x08, 0x09, 0x0A, 0x14, 0x15, 0x1C, 0x1D, 0x1E, 0x20]
  @integrity [0x08, 0x1C]
  @error_code 0x09
  @unknown_attributes 0x0A
  @xor_mapped_address 0x20
  @fingerprint 0x8028

  # RFC8489§14.7
  @fingerprint_mask 0x5354554E
  @fingerprint_size 8

  @doc """
  Tells whether a datagram is none of SIP's.

  RFC5626§8 - a STUN message begins with an octet of 0 or 1 (2 and 3 are methods that nobody defined), and a SIP
  message never does.
  """
  @spec stun?(binary) :: boolean
  def stun?(<<0::6, _::bitstring>>), do: true
  def stun?(_datagram), do: false

  @doc """
  The answer to a datagram from `ip` and `port`, or `:drop` for all but a well-formed Binding request.
  """
  @spec answer(binary, {:inet.ip_address(), :inet.port_number()}) :: {:ok, binary} | :drop
  def answer(
        <<@request::16, length::16, @cookie::32, id::binary-size(12),
          attributes::binary-size(length)>> = datagram,
        source
      ) do
    case scan(attributes, datagram, []) do
      {:ok, [], ending} -> {:ok, message(@success, id, [mapped(source, id)], ending)}
      {:ok, unknown, ending} -> {:ok, message(@failure, id, refusal(unknown), ending)}
      :error -> :drop
    end
  end

  def answer(_datagram, _source), do: :drop

  # Gives the comprehension-required attributes that are not known, and whether the message ends in a fingerprint.
  defp scan(<<>>, _datagram, unknown), do: {:ok, unknown |> Enum.reverse() |> Enum.uniq(), :plain}

  # RFC8489§14.7 - the fingerprint comes last; a wrong one says that this is no STUN (§6.3)
  defp scan(<<@fingerprint::16, 4::16, crc::32>>, datagram, unknown) do
    covered = binary_part(datagram, 0, byte_size(datagram) - @fingerprint_size)

    with true <- crc == checksum(covered),
         {:ok, unknown, _ending} <- scan(<<>>, datagram, unknown),
         do: {:ok, unknown, :fingerprint},
         else: (_ -> :error)
  end

  defp scan(<<type::16, length::16, rest::binary>>, datagram, unknown) do
    size = length + padding(length)

    if size <= byte_size(rest) and type != @fingerprint,
      do: pass(type, binary_part(rest, size, byte_size(rest) - size), datagram, unknown),
      else: :error
  end

  defp scan(_cut, _datagram, _unknown), do: :error

  defp pass(type, rest, datagram, unknown) when type in @integrity,
    do: scan(protected(rest), datagram, unknown)

  defp pass(type, rest, datagram, unknown) when type < 0x8000 and type not in @known,
    do: scan(rest, datagram, [type | unknown])

  defp pass(_type, rest, datagram, unknown), do: scan(rest, datagram, unknown)

  # RFC8489§14.5, §14.6 - what follows a MESSAGE-INTEGRITY is ignored, but for the fingerprint at the end
  defp protected(rest) when byte_size(rest) >= @fingerprint_size do
    case binary_part(rest, byte_size(rest), -@fingerprint_size) do
      <<@fingerprint::16, 4::16, _crc::32>> = fingerprint -> fingerprint
      _other -> <<>>
    end
  end

  defp protected(_rest), do: <<>>

  # RFC8489§14.2
  defp mapped({{a, b, c, d}, port}, _id) do
    attribute(
      @xor_mapped_address,
      <<0, 1, veil(port)::16, bxor(word([a, b, c, d]), @cookie)::32>>
    )
  end

  defp mapped({ip, port}, <<id::96>>) when tuple_size(ip) == 8 do
    <<address::128>> = for group <- Tuple.to_list(ip), into: <<>>, do: <<group::16>>
    veiled = bxor(address, bor(@cookie <<< 96, id))
    attribute(@xor_mapped_address, <<0, 2, veil(port)::16, veiled::128>>)
  end

  defp veil(port), do: bxor(port, @cookie >>> 16)
  defp word(octets), do: octets |> :erlang.list_to_binary() |> :binary.decode_unsigned()

  # RFC8489§6.3.1, §14.8, §14.13
  defp refusal(unknown) do
    [
      attribute(@error_code, <<0::21, 4::3, 20, "Unknown Attribute">>),
      attribute(@unknown_attributes, for(type <- unknown, into: <<>>, do: <<type::16>>))
    ]
  end

  defp message(type, id, attributes, :plain) do
    body = IO.iodata_to_binary(attributes)
    <<type::16, byte_size(body)::16, @cookie::32, id::binary, body::binary>>
  end

  defp message(type, id, attributes, :fingerprint) do
    body = IO.iodata_to_binary(attributes)
    length = byte_size(body) + @fingerprint_size
    covered = <<type::16, length::16, @cookie::32, id::binary, body::binary>>
    covered <> attribute(@fingerprint, <<checksum(covered)::32>>)
  end

  defp checksum(covered), do: bxor(:erlang.crc32(covered), @fingerprint_mask)

  defp attribute(type, value) do
    length = byte_size(value)
    <<type::16, length::16, value::binary, 0::size(padding(length))-unit(8)>>
  end

  # RFC8489§14 - attributes end on a boundary of 32 bits
  defp padding(length), do: band(-length, 3)
end
