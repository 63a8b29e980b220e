defmodule Sippet.Trace.Filter do
  @moduledoc false
  # Which calls are shown. A call that has a message which fits is shown as a whole: what came
  # before, what a proxy sends on elsewhere, and the BYE of what an INVITE has begun.

  alias Sippet.Message
  alias Sippet.Trace.{Address, Entry}

  @type t :: %{
          call_id: String.t() | nil,
          method: Message.method() | nil,
          address: {:inet.ip_address() | String.t(), :inet.port_number() | nil} | nil
        }

  @options [
    call_id: [
      type: {:custom, &__MODULE__.call_id?/1, "a string"},
      default: nil,
      doc: "only the call of this Call-ID"
    ],
    method: [
      type: {:custom, &__MODULE__.method?/1, "a method"},
      default: nil,
      doc: "only calls that have a message of this method; `:invite` or `\"INVITE\"`"
    ],
    address: [
      type:
        {:custom, &__MODULE__.address?/1,
         "an IP address, as a string or a tuple, or {address, port}"},
      default: nil,
      doc: "only calls that have a message from or to this address"
    ]
  ]

  @doc """
  The schema of the options for `Sippet.Options`.
  """
  @spec options() :: Sippet.Options.schema()
  def options, do: @options

  @spec new(map) :: t
  def new(options) do
    %{
      call_id: options.call_id,
      method: options.method && method(options.method),
      address: options.address && address(options.address)
    }
  end

  defp method(method) when is_atom(method), do: method
  defp method(text), do: Message.to_method(text)

  defp address({host, port}) when is_integer(port), do: {host(host), port}
  defp address(host), do: {host(host), nil}

  defp host(text) when is_binary(text), do: Address.host(text)
  defp host(ip), do: ip

  @doc """
  Whether the Call-ID of a message tells all: no later message of its call can make it fit.
  """
  @spec by_call_id?(t) :: boolean
  def by_call_id?(filter), do: filter.method == nil and filter.address == nil

  @doc """
  Whether a call that has this message may have another that fits.
  """
  @spec may_fit?(t, Entry.t()) :: boolean
  def may_fit?(filter, entry), do: filter.call_id in [nil, entry.call_id]

  @doc """
  Whether the call of a message is to be shown for it.
  """
  @spec fits?(t, Entry.t()) :: boolean
  def fits?(filter, entry) do
    (filter.call_id == nil or filter.call_id == entry.call_id) and
      (filter.method == nil or filter.method == entry.method) and
      (filter.address == nil or at?(filter.address, entry.source) or
         at?(filter.address, entry.destination))
  end

  defp at?({host, nil}, {host, _port}), do: true
  defp at?(address, address), do: true
  defp at?(_address, _other), do: false

  ## What options may be

  @doc false
  def call_id?(text), do: is_binary(text) and text != ""

  @doc false
  def method?(method),
    do: (is_atom(method) and method != nil) or (is_binary(method) and method != "")

  @doc false
  def address?({host, port}) when is_integer(port), do: port in 0..65_535 and address?(host)
  def address?(host), do: (is_binary(host) and host != "") or :inet.is_ip_address(host)
end
