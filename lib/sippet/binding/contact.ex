defmodule Sippet.Binding.Contact do
  @moduledoc false
  # A Contact of a REGISTER as a registrar reads it, and the bindings that it takes the place of.

  alias Sippet.{Binding, Digits, URI}

  @enforce_keys [:address, :interval, :instance, :reg_id]
  defstruct @enforce_keys

  @type t :: %__MODULE__{
          address: Binding.address(),
          interval: non_neg_integer,
          instance: String.t() | nil,
          reg_id: pos_integer | nil
        }

  # RFC3261§10.3 - a request for as long as this is never too brief
  @hour 3_600

  # RFC3261§20.10, §20.19 - the largest interval
  @max_interval 0xFFFFFFFF

  # RFC5626§11.2, §13.2 - the largest number of a flow
  @max_reg_id 0x7FFFFFFF

  @doc """
  Reads a contact; `default` is the interval of one that says nothing of it.
  """
  @spec new(Binding.address(), non_neg_integer) :: t
  def new({name, uri, params}, default) do
    instance = instance(params)

    %__MODULE__{
      address: {name, uri, Map.delete(params, "expires")},
      interval: interval(params, default),
      instance: instance,
      # RFC5626§6 - a reg-id without an instance is ignored
      reg_id: if(instance, do: reg_id(params))
    }
  end

  # RFC3261§20.10 - a malformed value is as good as 3600
  defp interval(%{"expires" => expires}, _default) do
    case Digits.parse(expires, @max_interval) do
      {:ok, seconds} -> seconds
      :error -> @hour
    end
  end

  defp interval(_params, default), do: default

  defp reg_id(params) do
    case Digits.parse(params["reg-id"], @max_reg_id) do
      {:ok, reg_id} when reg_id > 0 -> reg_id
      _malformed -> nil
    end
  end

  # RFC5626§4.1 - the URN is taken out of its brackets, and compared as a URN
  defp instance(%{"+sip.instance" => text}) when is_binary(text) do
    case text |> String.trim_leading("<") |> String.trim_trailing(">") do
      "" -> nil
      urn -> canonical(urn)
    end
  end

  defp instance(_params), do: nil

  # RFC4122§3 - a UUID is the same in any letter case
  # RFC2141§5 - of any other URN, "urn" and the namespace are
  defp canonical(urn) do
    case String.split(urn, ":", parts: 3) do
      [scheme, namespace, specific] ->
        canonical(String.downcase(scheme, :ascii), String.downcase(namespace, :ascii), specific)

      _other ->
        urn
    end
  end

  defp canonical("urn", "uuid", uuid), do: "urn:uuid:" <> String.downcase(uuid, :ascii)
  defp canonical(scheme, namespace, specific), do: Enum.join([scheme, namespace, specific], ":")

  @doc """
  Whether the interval is shorter than the least that a registrar takes.
  """
  @spec brief?(t, pos_integer) :: boolean
  def brief?(%__MODULE__{interval: interval}, least),
    do: interval > 0 and interval < @hour and interval < least

  @doc """
  Whether a binding is the contact's own.
  """
  @spec same?(t, Binding.t()) :: boolean
  # RFC5626§6 - a flow is its user agent's, whatever its URI
  def same?(%__MODULE__{instance: instance, reg_id: reg_id}, binding) when reg_id != nil,
    do: {binding.instance, binding.reg_id} == {instance, reg_id}

  def same?(%__MODULE__{address: {_name, uri, _params}}, %{reg_id: nil, contact: contact}),
    do: URI.equivalent(elem(contact, 1), uri)

  def same?(%__MODULE__{}, _binding), do: false

  @doc """
  Whether the binding is one that the contact's user agent had before, at another URI.
  """
  @spec moved?(t, Binding.t()) :: boolean
  def moved?(%__MODULE__{reg_id: nil, instance: instance, interval: interval}, binding)
      when instance != nil and interval > 0,
      do: {binding.instance, binding.reg_id} == {instance, nil}

  def moved?(%__MODULE__{}, _binding), do: false
end
