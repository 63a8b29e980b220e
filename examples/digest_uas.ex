defmodule Examples.DigestUAS do
  @moduledoc """
  Takes messages (MESSAGE, RFC 3428) from those who know a password, each credentials once.

  Options: `:name` of the stack, `:address` and `:port` to listen on, `:realm`, `:users` as
  `%{name => password}`, `:algorithm` as `Sippet.DigestAuth` has it, `:deliver` with what takes a
  user and a text, and `:stack` with more options of the stack (`Sippet`).
  """

  use Supervisor
  use Sippet.Core

  alias Sippet.{DigestAuth, Message, UAS}

  def start_link(options), do: Supervisor.start_link(__MODULE__, options)

  @impl true
  def init(options) do
    name = Keyword.fetch!(options, :name)
    udp = [name: name, port: options[:port] || 5060, address: options[:address] || "127.0.0.1"]

    children = [
      {DigestAuth.NonceStore, name: configure(name, options)},
      {Sippet, [name: name, core: __MODULE__] ++ Keyword.get(options, :stack, [])},
      {Sippet.Transports.UDP, udp}
    ]

    Supervisor.init(children, strategy: :rest_for_one)
  end

  @doc "Keeps what the callbacks read, and gives the name of the nonce store that they want."
  def configure(name, options) do
    nonces = Module.concat(name, Nonces)

    # A core has no state of its own: what all callbacks read lies where reading costs nothing.
    :persistent_term.put({__MODULE__, name}, %{
      realm: options[:realm] || "example.com",
      users: options[:users] || %{"alice" => "secret"},
      deliver: options[:deliver] || fn user, text -> IO.puts("#{user}: #{text}") end,
      # SHA-256 for those who know it; most phones know MD5.
      digest: [algorithm: options[:algorithm] || ["SHA-256", "MD5"], store: nonces]
    })

    nonces
  end

  @impl true
  # RFC3261§22.1 - an ACK and a CANCEL can't be challenged; nothing here is there to be
  # acknowledged or cancelled.
  def receive_request(_ack, nil, _stack), do: :ok

  def receive_request(request, _key, stack) do
    config = :persistent_term.get({__MODULE__, stack})

    with :ok <- UAS.validate(request, allow: ["MESSAGE", "OPTIONS"], accept: [{"text", "plain"}]),
         {:ok, user} <- authenticate(request, config),
         :ok <- authorize(request, user) do
      take(request, user, config)
      Sippet.send(stack, accepted(request, config))
    else
      {:error, response} -> Sippet.reply(stack, response)
    end
  end

  defp authenticate(request, config),
    do: DigestAuth.authenticate(request, config.realm, &secret(&1, config), config.digest)

  defp secret(user, config) do
    with :error <- Map.fetch(config.users, user), do: {:error, :unknown}
  end

  # Who somebody is, and whom they may speak for, are two questions.
  defp authorize(%Message{headers: %{from: {_name, uri, _params}}} = request, user) do
    if uri.userinfo == user, do: :ok, else: {:error, Message.to_response(request, 403)}
  end

  defp take(%Message{start_line: %{method: :message}, body: text}, user, config),
    do: config.deliver.(user, text)

  defp take(_options, _user, _config), do: :ok

  # RFC7616§3.5 - the server shows that it knows the password, too
  defp accepted(request, config) do
    response = Message.to_response(request, 200)
    secret = &secret(&1, config)

    case DigestAuth.put_authentication_info(
           response,
           request,
           config.realm,
           secret,
           config.digest
         ) do
      {:ok, response} -> response
      {:error, _reason} -> response
    end
  end
end
