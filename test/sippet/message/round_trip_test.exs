defmodule Sippet.Message.RoundTripTest do
  use ExUnit.Case, async: true

  # What the serialiser prints of any value of a shape, the parser reads as the same value. The values are random; the
  # seed is the one that ExUnit prints, so `mix test --seed N` brings a failure back.

  alias Sippet.Headers
  alias Sippet.Headers.Table
  alias Sippet.Message
  alias Sippet.URI

  @rounds 50
  @token ~c"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-.!%*_+`'~"
  @alphanum ~c"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
  @word @token ++ ~c"()<>:\\\"/[]?{}"
  @user ~c"abcXYZ019-_.!~*'()&=+$,;?/#^`{|}" ++ [0xC3, 0xA9, 0xFF]
  @bare Enum.to_list(0x21..0x7E) -- ~c"\",;<>\\"

  # A quoted pair stands for any other octet; CR and LF are refused, and a NUL is left out.
  @qdtext Enum.to_list(1..255) -- ~c"\r\n"

  setup do
    :rand.seed(:exsss, ExUnit.configuration()[:seed])
    :ok
  end

  for %{name: name, shape: shape, repeat: repeat} = row <- Table.rows(), shape != :raw do
    test "#{name}" do
      for _ <- 1..@rounds do
        value = value(unquote(shape), unquote(repeat), unquote(name))
        text = IO.iodata_to_binary(Headers.to_iodata(unquote(name), value))
        assert {text, Headers.parse(unquote(name), text)} == {text, {:ok, value}}
      end
    end

    if row.key do
      test "#{name} in a message" do
        for _ <- 1..@rounds do
          value = value(unquote(shape), unquote(repeat), unquote(name))
          assert_same(%{unquote(row.key) => value})
        end
      end
    end
  end

  test "many headers at once, raw ones among them" do
    rows = Enum.filter(Table.rows(), &(&1.key not in [nil, :content_length]))

    for _ <- 1..@rounds do
      typed =
        for row <- Enum.take_random(rows, 12),
            into: %{},
            do: {row.key, value(row.shape, row.repeat, row.name)}

      raw = for n <- 1..:rand.uniform(40), into: %{}, do: {"X-A#{n}", some(1, fn -> raw() end)}
      assert_same(Map.merge(typed, raw))
    end
  end

  test "request lines" do
    for _ <- 1..@rounds do
      message = Message.build_request(method(), uri())
      assert Message.parse!(to_string(message)).start_line == message.start_line
    end
  end

  test "status lines" do
    for _ <- 1..@rounds do
      message = Message.build_response(99 + :rand.uniform(600), raw())
      assert Message.parse!(to_string(message)).start_line == message.start_line
    end
  end

  defp assert_same(headers) do
    body = octets(Enum.to_list(0..255), 0, 40)
    message = %{Message.build_response(200) | headers: headers, body: body}
    text = to_string(message)
    parsed = Message.parse!(text)
    headers = Map.put(headers, :content_length, byte_size(body))
    assert {text, parsed} == {text, %{message | headers: headers}}
    assert to_string(parsed) == text
  end

  defp value(shape, :one, name), do: element(shape, name)
  defp value(:auth, _repeat, name), do: [element(:auth, name)]

  defp value(shape, repeat, name) when repeat in [:list, :lines],
    do: some(1, fn -> element(shape, name) end)

  defp value(shape, :list0, name), do: some(0, fn -> element(shape, name) end)

  defp element(shape, _name) when shape in [:address, :name_addr, :refer_to, :route, :contact],
    do: {one([fn -> "" end, &quoted/0]), uri(), params()}

  defp element(:media, _name), do: {{lower(token()), lower(token())}, params()}
  defp element(:token, _name), do: token()
  defp element(:token_params, _name), do: {token(), params()}
  defp element(:uri_params, _name), do: {uri(), params()}
  defp element(:word_params, "Identity"), do: {octets(@alphanum ++ ~c"/+=.", 1, 30), params()}
  defp element(:word_params, _name), do: {one([&token/0, &quoted/0]), params()}

  defp element(:auth, _name),
    do: one([fn -> {token(), auth_params()} end, fn -> {token(), %{"" => token68()}} end])

  defp element(:auth_info, _name), do: auth_params()
  defp element(:call_id, _name), do: call_id()
  defp element(:call_id_params, _name), do: {call_id(), params()}
  defp element(:cseq, _name), do: {number(0x80000000), method()}
  defp element(:rack, _name), do: {number(0x80000000), number(0x80000000), method()}

  defp element(:date, _name),
    do: NaiveDateTime.add(~N[1980-01-01 00:00:00], :rand.uniform(3_000_000_000))

  defp element(:integer, _name), do: number(0x100000000)
  defp element(:max_forwards, _name), do: number(256)
  defp element(:integer_params, _name), do: {number(0x100000000), params()}
  defp element(:params, _name), do: Map.put(params(), "a", token())
  defp element(:privacy, _name), do: some(1, &token/0)

  defp element(:retry_after, _name),
    do: {number(0x100000000), one([fn -> "" end, &comment/0]), params()}

  defp element(:text, _name), do: raw()

  defp element(:timestamp, _name),
    do: {:rand.uniform() * 1.0e6, one([fn -> 0.0 end, &:rand.uniform/0])}

  defp element(:version, _name), do: {number(10), number(10)}
  defp element(:warning, _name), do: {99 + :rand.uniform(900), host() <> ":5060", quoted()}

  defp element(:via, _name) do
    protocol =
      one([fn -> :udp end, fn -> :tls end, fn -> :wss end, fn -> "X" <> octets(~c"ABC", 1, 5) end])

    {{2, 0}, protocol, {bare_host(), :rand.uniform(65_535)},
     Map.merge(params(), %{"branch" => bare(), "received" => one([&bare/0, &bare_host/0])})}
  end

  # Octets that end nothing where no quotes stand. A branch or a tag is any of them.
  defp bare, do: octets(@bare, 1, 12)

  # Under names that no header gives a grammar of their own; "+..." is always quoted.
  defp params do
    for _ <- 1..(:rand.uniform(4) - 1)//1, into: %{} do
      name = Enum.random(["x", "+x"]) <> lower(token())
      {name, one([fn -> "" end, &token/0, &bare/0, &quoted/0, fn -> "[2001:db8::1]" end])}
    end
    |> Map.merge(one([fn -> %{} end, fn -> %{"tag" => bare()} end]))
  end

  defp auth_params do
    for name <- ["realm", "nonce", "qop", "x-" <> lower(token()), "algorithm"], into: %{} do
      {name, one([fn -> "" end, &token/0, &bare/0, &quoted/0])}
    end
  end

  defp method, do: one([fn -> :invite end, fn -> :ack end, fn -> "x" <> token() end])

  defp uri do
    one([
      &sip/0,
      &sip/0,
      fn -> URI.parse!("tel:+" <> octets(~c"0123456789", 1, 9) <> ";a=b") end,
      fn -> URI.parse!("urn:" <> octets(@alphanum ++ ~c":", 1, 9)) end
    ])
  end

  defp sip do
    user = one([fn -> "" end, fn -> octets(@user, 1, 9) <> "@" end, fn -> "%00%7e@" end])
    port = one([fn -> "" end, fn -> ":#{:rand.uniform(65_535)}" end, fn -> ":5060" end])
    params = one([fn -> "" end, fn -> ";lr;a=#{octets(@alphanum, 1, 5)}" end])
    headers = one([fn -> "" end, fn -> "?a=#{octets(@alphanum, 1, 5)}&b=" end])
    scheme = one([fn -> "sip:" end, fn -> "sips:" end])
    URI.parse!(scheme <> user <> host() <> port <> params <> headers)
  end

  defp host, do: one([fn -> "a.b-c.com" end, fn -> "192.0.2.1" end, fn -> "[2001:db8::1]" end])
  defp bare_host, do: host() |> String.trim("[") |> String.trim("]")

  defp call_id, do: octets(@word, 1, 20) <> "@" <> octets(@word, 1, 20)
  defp token, do: octets(@token, 1, 12)

  defp token68,
    do:
      octets(@alphanum ++ ~c"-._~+/", 1, 20) <> one([fn -> "" end, fn -> "=" end, fn -> "==" end])

  defp quoted, do: octets(@qdtext, 1, 20)
  defp comment, do: octets(@qdtext, 1, 20)
  defp raw, do: octets(Enum.to_list(0x20..0x7E) ++ [0xC3, 0xA9], 0, 30) |> String.trim()
  defp lower(text), do: String.downcase(text, :ascii)

  defp number(below),
    do: one([fn -> :rand.uniform(below) - 1 end, fn -> 0 end, fn -> below - 1 end])

  defp one(makers), do: Enum.random(makers).()
  defp some(least, make), do: for(_ <- 1..(:rand.uniform(4) - 1 + least)//1, do: make.())

  defp octets(from, least, most) do
    for _ <- 1..(least + :rand.uniform(most - least + 1) - 1)//1,
        into: <<>>,
        do: <<Enum.random(from)>>
  end
end
