defmodule Sippet.Registration.Response do
  @moduledoc false
  # What a registrar's final response means to the user agent.

  alias Sippet.Binding.Contact
  alias Sippet.{Digits, Message, URI}
  alias Sippet.Message.Typed
  alias Sippet.Registration.{Delay, Schema}

  @typedoc "A binding as the owner gets it."
  @type binding :: %{uri: URI.t(), expires: pos_integer, own?: boolean}

  @type t ::
          {:ok, [binding]}
          | :challenge
          | {:too_brief, seconds :: non_neg_integer | nil}
          | {:unavailable | :refused, status :: 300..699}

  @max_port 65_535

  @doc """
  Reads a final response to a request that had these contacts. `expires` are the seconds of a
  contact that has none.
  """
  @spec read(Message.response(), [Schema.address()], non_neg_integer) :: t
  def read(%Message{start_line: %{status_code: status}} = response, contacts, expires) do
    case status do
      status when status in 200..299 -> {:ok, bindings(response, contacts, expires)}
      status when status in [401, 407] -> :challenge
      423 -> {:too_brief, response.headers[:min_expires]}
      status when status in [408, 480] or status in 500..599 -> {:unavailable, status}
      status -> {:refused, status}
    end
  end

  @doc """
  The milliseconds of a Retry-After, of at most a day; `nil` where there is none.
  """
  @spec retry_after(Message.response()) :: non_neg_integer | nil
  def retry_after(%Message{headers: %{retry_after: {seconds, _comment, _params}}}),
    # A registrar that has just refused needs a moment at least.
    do: seconds |> max(1) |> min(Delay.longest()) |> Kernel.*(1_000)

  def retry_after(_response), do: nil

  @doc """
  The nonce that the registrar wants next (RFC 7616 §3.5).
  """
  @spec next_nonce(Message.response()) :: String.t() | nil
  def next_nonce(%Message{headers: %{authentication_info: %{"nextnonce" => nonce}}})
      when nonce != "",
      do: nonce

  def next_nonce(_response), do: nil

  defp bindings(%Message{headers: headers} = response, contacts, expires) do
    case Typed.each(headers, :contact) do
      {:ok, listed, _malformed} ->
        default = headers[:expires] || expires
        seen = seen(response, contacts)

        for {_name, _uri, _params} = contact <- listed,
            do: binding(contact, default, contacts, seen)

      :error ->
        []
    end
    |> Enum.filter(&(&1.expires > 0))
  end

  defp binding({_name, uri, _params} = address, default, contacts, seen) do
    contact = Contact.new(address, default)

    own? =
      Enum.any?(contacts, &same?(contact, &1)) or Enum.any?(seen, &URI.lazy_equivalent(uri, &1))

    %{uri: uri, expires: contact.interval, own?: own?}
  end

  # RFC3261§10.2.4 - the bindings are compared with the own contacts. A registrar may write a
  # default
  # port or transport out; an instance has no two user agents.
  defp same?(%Contact{address: {_name, uri, _params}, instance: instance}, {_, own, _} = address) do
    URI.lazy_equivalent(uri, own) or
      (instance != nil and instance == Contact.new(address, 0).instance)
  end

  # The own contacts at the address from which the registrar has seen the request come: behind a
  # NAT
  # some write that into the binding.
  defp seen(%Message{headers: %{via: [{_, _, _, %{"received" => host} = params} | _]}}, contacts)
       when host != "" do
    case Digits.parse(params["rport"], @max_port) do
      {:ok, port} ->
        for {_name, %URI{host: own} = uri, _params} when own != nil <- contacts,
            do: %{uri | host: unbracketed(host), port: port}

      :error ->
        []
    end
  end

  defp seen(_response, _contacts), do: []

  defp unbracketed(host), do: host |> String.trim_leading("[") |> String.trim_trailing("]")
end
