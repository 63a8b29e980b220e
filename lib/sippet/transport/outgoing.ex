defmodule Sippet.Transport.Outgoing do
  @moduledoc false
  # A message on its way out.

  alias Sippet.{Message, Names, Transport}

  @enforce_keys [:transport, :destination, :octets]
  defstruct [:transport, :destination, :octets, :key, :message, :fallback, :failed]

  @typedoc """
  What is sent, by what and where to.

    * `key` - that of the transaction, which is told to the transport
    * `message` - the octets as a message, where that has a target which transports of the 1.0 kind get
    * `fallback` - gives another way, where the transport is gone for good
    * `failed` - is called with the reason if the message was taken, and could not be sent after all
  """
  @type t :: %__MODULE__{
          transport: Transport.t(),
          destination: Transport.destination(),
          octets: binary,
          key: Transport.key(),
          message: Message.t() | nil,
          fallback: (t -> t | nil) | nil,
          failed: (term -> term) | nil
        }

  @doc """
  Returns the status of a message that the library has printed, and `nil` of a request.

      iex> Sippet.Transport.Outgoing.status("SIP/2.0 200 OK\r\n\r\n")
      200
  """
  @spec status(binary) :: 100..699 | nil
  def status(<<"SIP/2.0 ", status::binary-size(3), _rest::binary>>),
    do: String.to_integer(status)

  def status(_request), do: nil

  @doc """
  Returns the method of a message that the library has printed: that of its CSeq, where it is a response.

      iex> Sippet.Transport.Outgoing.method("SIP/2.0 200 OK\r\nCSeq: 1 INVITE\r\n\r\n")
      :invite
      iex> Sippet.Transport.Outgoing.method("NOTIFY sip:b@biloxi.com SIP/2.0\r\n\r\n")
      :notify
  """
  @spec method(binary) :: Message.method() | nil
  def method(<<"SIP/2.0 ", _rest::binary>> = response) do
    with [_before, rest] <- :binary.split(response, "\nCSeq: "),
         [line, _rest] <- :binary.split(rest, "\r\n"),
         [_number, method] <- String.split(line, " ", trim: true) do
      Names.method(method)
    else
      # It repeats what its request had, and can't be read.
      _malformed -> nil
    end
  end

  def method(request), do: request |> :binary.split(" ") |> hd() |> Names.method()
end
