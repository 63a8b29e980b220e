defmodule Sippet.Registration.Request do
  @moduledoc false
  # The REGISTERs of a registration. They have one Call-ID, and CSeq numbers that rise by one.

  alias Sippet.{DigestAuth, Message}
  alias Sippet.Message.Route
  alias Sippet.Registration.Schema

  # Headers that carry credentials.
  @credentials [:authorization, :proxy_authorization]

  @doc """
  All that the requests have in common.
  """
  @spec new(Schema.t()) :: Message.request()
  # RFC3261§10.2 - To has the address-of-record, and so has From, unless somebody else registers
  def new(config) do
    address_of_record = {"", config.address_of_record, %{}}

    Message.build_request(:register, config.registrar)
    # RFC3327§5.1
    |> Message.put_headers(from: address_of_record, supported: ["path"])
    |> Message.put_headers(config.headers)
    |> Message.put_header(:to, address_of_record)
    |> Message.put_header(:call_id, Message.create_call_id())
    |> put_tag()
    |> Route.put(config.route)
  end

  # RFC3261§8.1.1.3
  defp put_tag(request) do
    case Message.fetch_typed(request, :from) do
      {:ok, {name, uri, %{} = params}} ->
        params = Map.put_new(params, "tag", Message.create_tag())
        Message.put_header(request, :from, {name, uri, params})

      _malformed ->
        raise ArgumentError, "expected :headers to have a From that is well-formed, if any"
    end
  end

  @doc """
  Raises `ArgumentError` if the requests of these options could not be printed.
  """
  @spec check!(Schema.t()) :: :ok
  def check!(config) do
    via = {{2, 0}, :udp, {"a.invalid", 5060}, %{"branch" => Message.create_branch()}}
    contacts = config.contacts || [{"", config.address_of_record, %{}}]

    request =
      config
      |> new()
      |> put_contacts(Enum.map(contacts, &with_instance(&1, config.instance)), config.expires)
      |> Message.put_headers(via: [via], cseq: {1, :register}, max_forwards: 70)

    with {:error, text} <- Message.validate(request),
         do: raise(ArgumentError, "expected options of a valid request: #{text}")
  end

  @doc """
  The request that binds these contacts for so many seconds; none ends the bindings.
  """
  @spec put_contacts(Message.request(), [Schema.address()], non_neg_integer) :: Message.request()
  # RFC3261§10.2.2 - an interval of 0, for each contact: not "*", which would end those of others
  def put_contacts(request, contacts, 0) do
    contacts =
      for {name, uri, params} <- contacts, do: {name, uri, Map.put(params, "expires", "0")}

    Message.put_headers(request, contact: contacts, expires: 0)
  end

  def put_contacts(request, contacts, expires),
    do: Message.put_headers(request, contact: contacts, expires: expires)

  @doc """
  A contact with the instance of the user agent.
  """
  @spec with_instance(Schema.address(), String.t() | nil) :: Schema.address()
  def with_instance(contact, nil), do: contact

  # RFC5626§4.1
  def with_instance({name, uri, params}, urn),
    do: {name, uri, Map.put(params, "+sip.instance", "<#{urn}>")}

  @doc """
  The request under this number, with a branch of its own, for this way.
  """
  @spec numbered(Message.request(), pos_integer, Sippet.Flow.t() | nil) :: Message.request()
  def numbered(request, number, target) do
    request
    |> Message.delete_header(:via)
    |> Message.put_header(:cseq, {number, :register})
    |> Map.update!(:target, &(target || &1))
    |> Message.complete()
  end

  @doc """
  The headers by which a request has authenticated itself.
  """
  @spec credentials(Message.request()) :: map
  def credentials(%Message{headers: headers}), do: Map.take(headers, @credentials)

  @doc """
  Whether the request carries credentials.
  """
  @spec credentials?(Message.request()) :: boolean
  def credentials?(request), do: credentials(request) != %{}

  @doc """
  The request with credentials that were taken before, for one more use of their nonce, or for the
  nonce that the registrar has announced. Without them where they can't be made any more.
  """
  @spec reuse(Message.request(), map, String.t() | nil, DigestAuth.authenticate() | nil) ::
          Message.request()
  def reuse(request, credentials, nonce, authenticate)
      when credentials != %{} and authenticate != nil do
    case request
         |> Message.put_headers(credentials)
         |> DigestAuth.repeat_request(authenticate, nonce: nonce) do
      {:ok, request} -> request
      {:error, _reason} -> request
    end
  end

  def reuse(request, _credentials, _nonce, _authenticate), do: request

  @doc """
  The request with an answer to a challenge. `reused?` says that its credentials are of an earlier
  request, and that no challenge has come since.
  """
  @spec answer(Message.request(), Message.response(), DigestAuth.authenticate(), boolean) ::
          {:ok, Message.request()} | {:error, term}
  def answer(request, response, authenticate, reused?) do
    case DigestAuth.make_request(request, response, authenticate) do
      # Some servers change the nonce and say nothing of it: what was right then may be right
      # still.
      {:error, :unknown_nonce} when reused? ->
        request
        |> Message.drop_headers(@credentials)
        |> DigestAuth.make_request(response, authenticate)

      answer ->
        answer
    end
  end
end
