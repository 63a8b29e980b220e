defmodule Sippet.ForeignOctetsTest do
  # Text of the network may hold any octets from 0x80, so that terms are no UTF-8. Nothing in the library
  # may raise on them.
  use Sippet.StackCase, async: true

  alias Sippet.{Binding, Dialog, DigestAuth, Headers, ParseError, Proxy, Trace, UAS, URI}
  alias Sippet.Transactions.{Client, Server}

  # A lone continuation octet, a sequence that is cut short, one that is too long, and octets that are never used.
  @octets "\x80\xE9\xC0\x80\xFF\xFE"

  # Stands for them in text that the parser takes.
  @stand_in "zzz"

  @request """
  INVITE sip:zzz@biloxi.com;p=zzz SIP/2.0
  Via: SIP/2.0/UDP 10.1.1.1;branch=z9hG4bKzzz;x=zzz
  Max-Forwards: 70
  From: "zzz" <sip:zzz@atlanta.com>;tag=zzz
  To: zzz <sip:zzz@biloxi.com;x=zzz?subject=zzz>
  Call-ID: zzz@atlanta.com
  CSeq: 1 INVITE
  Contact: <sip:zzz@192.0.2.4>;x=zzz
  Record-Route: <sip:zzz@p1.atlanta.com;lr>
  Route: <sip:zzz@p2.atlanta.com;lr>
  Subject: zzz
  User-Agent: zzz
  Require: zzz
  Proxy-Require: zzz
  Content-Type: multipart/mixed;boundary="zzz"
  Content-Disposition: session;handling=zzz
  Content-Encoding: zzz
  Authorization: Digest username="zzz",realm="zzz",nonce="zzz",uri="zzz",response="zzz",qop=zzz,nc=zzz,cnonce="zzz"
  Proxy-Authorization: Digest username="bob",realm="zzz",nonce="zzz",uri="zzz",response="zzz",algorithm=zzz,userhash=zzz
  Event: zzz
  X-Foo: zzz

  zzz
  """

  # The octets in every text of a term.
  defp foreign(text) when is_binary(text), do: String.replace(text, @stand_in, @octets)
  defp foreign([head | tail]), do: [foreign(head) | foreign(tail)]

  defp foreign(tuple) when is_tuple(tuple),
    do: tuple |> Tuple.to_list() |> foreign() |> List.to_tuple()

  # Behind the user part of a URI the grammar has none.
  defp foreign(%URI{} = uri),
    do: %{uri | userinfo: foreign(uri.userinfo), authority: foreign(uri.authority)}

  defp foreign(%module{} = struct), do: struct!(module, struct |> Map.from_struct() |> foreign())
  defp foreign(map) when is_map(map), do: Map.new(map, &foreign/1)
  defp foreign(term), do: term

  defp request do
    request = @request |> Message.parse!() |> foreign()
    [{name, uri, params}] = request.headers.contact
    params = Map.merge(params, %{"q" => @octets, "expires" => @octets})
    Message.put_header(request, :contact, [{name, uri, params}])
  end

  defp response do
    response = Message.to_response(request(), 200, @octets)
    Message.put_header(response, :contact, request().headers.contact)
  end

  defp uri, do: request().start_line.request_uri

  defp register,
    do: %{put_in(request().start_line.method, :register) | body: ""}

  defp readable?(text), do: String.valid?(text) and String.printable?(text)

  test "the term holds them, and its text does" do
    refute String.valid?(request().headers.call_id)
    assert %URI{userinfo: @octets} = uri()
    assert to_string(request().start_line) =~ "INVITE sip:" <> @octets
  end

  describe "inspect" do
    test "of messages, URIs, keys and dialogs is text that a terminal takes" do
      {:ok, dialog} = Dialog.uas(request(), response())
      client = Client.Key.new(request())
      server = Server.Key.new(request())

      for term <- [
            request(),
            response(),
            uri(),
            dialog,
            client,
            server,
            %{client | method: @octets}
          ] do
        assert readable?(inspect(term))
        assert readable?(inspect(term, binaries: :as_strings, pretty: true))
      end
    end

    test "of a key can be evaluated" do
      for key <- [Client.Key.new(request()), Server.Key.new(request())],
          do: assert({^key, _} = Code.eval_string(inspect(key)))
    end
  end

  describe "errors" do
    test "of the parser show them escaped" do
      for text <- [
            @octets,
            "INVITE #{@octets} SIP/2.0\r\n\r\n",
            "OPTIONS sip:a SIP/2.0\r\n#{@octets}"
          ] do
        {:error, %ParseError{} = error} = Message.parse(text)
        assert readable?(Exception.message(error))
        assert readable?(inspect(error))
      end

      {:error, error} = URI.parse("sip:#{@octets}")
      assert readable?(Exception.message(error))
      {:error, error} = Headers.parse("RSeq", @octets)
      assert readable?(Exception.message(error))
    end

    test "of the printer show them escaped" do
      for {header, value} <- [
            {:call_id, @octets <> "\r\n"},
            {:cseq, {@octets, :invite}},
            {"X-#{@octets}", ["a\r\n"]},
            {@octets <> ":", ["a"]},
            {:from, {"", %{uri() | host: "a b" <> @octets}, %{}}}
          ] do
        message = Message.put_header(request(), header, value)
        error = assert_raise ArgumentError, fn -> to_string(message) end
        assert readable?(Exception.message(error))
        assert {:error, text} = Message.validate(message)
        assert readable?(text)
      end
    end

    test "of validate/1 show them escaped" do
      message = put_in(request().start_line.method, "X" <> @octets)
      assert {:error, text} = Message.validate(message)
      assert readable?(text)
    end
  end

  describe "URIs" do
    test "are compared, decoded and made canonical" do
      assert URI.equivalent(uri(), uri())
      assert URI.lazy_equivalent(uri(), uri())
      refute URI.equivalent(uri(), %{uri() | userinfo: "bob"})
      assert URI.percent_unescape("%80" <> @octets) == <<0x80>> <> @octets
      assert URI.decode_parameters(";a=#{@octets}") == %{"a" => @octets}
      assert URI.decode_headers("?a=#{@octets}") == %{"a" => @octets}
      assert URI.encode_paramchar(@octets) == "%80%E9%C0%80%FF%FE"
      assert Binding.address_of_record(uri()) == "sip:" <> @octets <> "@biloxi.com"

      # Some of these can't be printed.
      hosts = for host <- [@octets, @octets <> "::1", "a b"], do: %URI{scheme: "sip", host: host}
      names = for scheme <- ["tel", @octets], do: %URI{scheme: scheme, authority: @octets}

      for uri <- hosts ++ names do
        assert URI.equivalent(uri, uri)
        assert is_binary(Binding.address_of_record(uri))
        assert readable?(inspect(uri))
      end
    end
  end

  describe "values of messages" do
    test "make dialogs, bindings, responses and copies" do
      assert Dialog.id(request()) == {@octets <> "@atlanta.com", nil, @octets}
      {:ok, dialog} = Dialog.uas(request(), response())
      {:ok, bye, _dialog} = Dialog.next_request(dialog, :bye)
      assert bye.headers.call_id == request().headers.call_id
      assert {:ok, _dialog} = Dialog.uac(request(), response())

      assert {:ok, [binding], ok} = Binding.register([], register(), now: 0)
      assert binding.expires_at == 3_600
      assert [[%Binding{}]] = Binding.targets([binding], 1)
      assert %URI{} = Binding.uri(binding)
      assert is_binary(to_string(ok))

      assert {:error, %{headers: %{unsupported: [@octets]}}} =
               UAS.validate(request(), allow: ["INVITE"], accept: [{"application", "sdp"}])

      assert {:error, %{start_line: %{status_code: 415}}} =
               UAS.validate(request(),
                 allow: ["INVITE"],
                 supported: [@octets],
                 accept: [{@octets, "x"}]
               )

      assert {:error, %{headers: %{unsupported: [@octets]}}} = Proxy.validate(request())
      own = [{@octets, 5060}]
      assert :ok = Proxy.validate(request(), own: own, supported: [@octets])
      copy = Proxy.forward(request(), uri(), via: {:udp, {"p.com", 5060}})
      # A token has no such octets, and is printed with none.
      tokens = [:require, :proxy_require, :content_encoding, :authorization, :proxy_authorization]
      assert to_string(Message.drop_headers(copy, tokens)) =~ @octets
      assert is_binary(Proxy.stateless_branch(request()))
      assert Proxy.remove_via(response(), own) == {:error, :not_ours}
      assert is_binary(to_string(Message.to_cancel(request())))
      assert Message.has_header?(request(), @octets) == false
    end

    test "are credentials that are refused" do
      lookup = fn _name -> {:ok, @octets} end

      assert {:error, reason} = DigestAuth.verify(request(), @octets, lookup, qop: "auth")
      assert reason in [:unsupported_qop, :invalid_credentials]
      proxy = [status: 407]

      assert {:error, :unsupported_algorithm} =
               DigestAuth.verify(request(), @octets, lookup, proxy)

      {:ok, challenge} = DigestAuth.make_response(request(), 401, @octets)
      bob = fn @octets -> {:ok, @octets, @octets} end
      bare = Message.delete_header(request(), :authorization)

      for charset <- ["utf-8", @octets] do
        challenge =
          Message.update_header(challenge, :www_authenticate, nil, fn [{scheme, params}] ->
            [{scheme, Map.merge(params, %{"charset" => charset, "stale" => @octets})}]
          end)

        {:ok, next} = DigestAuth.make_request(bare, challenge, bob)
        assert DigestAuth.verify(next, @octets, lookup) == {:ok, @octets}
      end
    end
  end

  describe "traces" do
    test "draw them in every format, and send them to Homer" do
      text = @request |> foreign() |> String.replace("\n", "\r\n")
      {time, source, destination} = {0, {{192, 0, 2, 1}, 5060}, {@octets, 5060}}

      entries =
        for octets <- [
              text,
              to_string(request().start_line),
              "SIP/2.0 200 zzz\r\n\r\n" |> foreign()
            ],
            protocol <- [:udp, @octets],
            do: Trace.Entry.new(time, source, destination, octets, protocol)

      call = %Trace.Call{call_id: @octets, entries: entries}

      for format <- Trace.formats() -- [:log],
          do: assert(readable?(Trace.draw([call], format) |> String.replace("\n", "")))

      log = Trace.draw([call], :log)
      assert {read, _skipped} = Trace.Log.read(log)
      assert length(read) >= 3

      for entry <- entries do
        assert {:ok, "HEP3" <> _} =
                 Trace.HEP.Packet.encode(entry, %{capture_id: 1, auth_key: nil, address: nil})
      end
    end

    @tag :tmp_dir
    test "read them from captures", %{tmp_dir: folder} do
      path = Path.join(folder, "capture.pcap")
      text = @request |> foreign() |> String.replace("\n", "\r\n")
      udp = <<5060::16, 5060::16, byte_size(text) + 8::16, 0::16, text::binary>>

      ip =
        <<0x45, 0, byte_size(udp) + 20::16, 0::32, 64, 17, 0::16, 192, 0, 2, 1, 192, 0, 2, 2,
          udp::binary>>

      File.write!(path, Sippet.Captures.pcap(101, [ip]))
      assert {:ok, [call], _info} = Trace.read(path)
      assert [%{octets: ^text}] = call.entries
    end
  end

  test "a stack takes them", %{stack: stack} do
    from = foreign(~s("zzz" <sip:zzz@atlanta.com>;tag=1))
    call_id = @octets <> "@atlanta.com"
    headers = [{"Subject", @octets}, {"X-Foo", @octets}, {"From", from}, {"Call-ID", call_id}]
    deliver(stack, wire("OPTIONS", headers))
    assert_receive {:receive_request, request, _key}, 500
    assert {@octets, %URI{userinfo: @octets}, _params} = request.headers.from
    assert %{subject: @octets, call_id: ^call_id} = request.headers
    :ok = Sippet.send(stack, Message.to_response(request, 200, @octets))
    {response, _destination} = assert_sent(200)
    assert response.start_line.reason_phrase == @octets
  end
end
