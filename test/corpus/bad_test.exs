defmodule Sippet.Corpus.BadTest do
  use ExUnit.Case, async: true

  # One malformed pattern a file: those of published advisories, and one per field. What each must get:
  #
  #   {:accept, [{path, value}]}       parses and is valid; these are values of it
  #   {:error, reason, header}         parse/1 refuses
  #   {:invalid, text}                 parses; validate/1 refuses, and its text says this
  #   {:degraded, header, lines}       parses, and this typed header stands raw under its name
  #   {:field_error, header, lines}    parses, and Headers.parse/2 refuses this extension header

  alias Sippet.Corpus
  alias Sippet.Headers
  alias Sippet.Message
  alias Sippet.ParseError

  cseq_method =
    "bad/cseq-long-method-no-branch"
    |> Corpus.fixture!()
    |> then(&Regex.run(~r/CSeq: 0 (A+)\r/, &1))
    |> List.last()

  # In the order of PATTERNS.tsv: published advisories.
  @advisories [
    # RFC3261§8.1.1.5 - the method of CSeq must be the request's. Without a branch the key is made as RFC 2543 did
    # (§17.2.3), so nothing is sized by it.
    {"cseq-long-method-no-branch", {:invalid, "CSeq"}},
    # RFC3261§25.1 - the back-quote is a token octet, so this is a parameter, though not the boundary. Bare LF is
    # taken for CRLF.
    {"multipart-truncated-boundary",
     {:accept,
      [
        {[:headers, :content_type], {{"multipart", "mixed"}, %{"`boundary" => "++"}}},
        {[:body], "--\n--++=AAA\nxxx\n--+"}
      ]}},
    {"sdp-fmt-2p32", {:accept, [{[:headers, :content_length], 118}]}},
    {"from-tag-overlong",
     {:accept, [{[:headers, :from, 2, "tag"], String.duplicate("a", 1200)}]}},
    {"header-ctl-before-colon", {:error, :invalid_header_line, nil}},
    {"contact-uri-overlong", {:accept, [{[:headers, :contact, 0, 1, :host], "192.0.2.1"}]}},
    # RFC6665§4.1.3 - that a SUBSCRIBE has a Contact is the event package's business, not the message's.
    {"subscribe-missing-contact",
     {:accept, [{[:headers, :contact], nil}, {[:headers, "Event"], ["presence"]}]}},
    {"multipart-no-header-end",
     {:accept, [{[:headers, :content_type], {{"multipart", "mixed"}, %{"boundary" => "x"}}}]}},
    {"via-garbage-host", {:error, :invalid_header_line, nil}},
    {"to-param-unterminated-escape", {:error, :invalid_header, "To"}},
    {"auth-digest-truncated", {:degraded, "Authorization", ["Digest a a=\"\",real"]}},
    {"content-length-int-max", {:error, :body_too_short, "Content-Length"}},
    {"via-ipv6-unclosed", {:error, :invalid_header, "Via"}},
    {"uri-percent-one-digit", {:error, :invalid_request_uri, nil}},
    {"sdp-one-char-line", {:accept, [{[:body], "v=0\r\nm\r\n=\r\n"}]}},
    # RFC3261§25.1 - NUL is no qdtext; it may stand escaped only.
    {"multipart-nul-boundary", {:error, :control_character, nil}},
    {"uri-port-empty", {:error, :invalid_request_uri, nil}},
    {"expires-negative", {:degraded, "Expires", ["-1"]}},
    {"via-invalid-no-sentby", {:error, :invalid_header, "Via"}},
    {"auth-realm-overlong",
     {:accept,
      [
        {[:headers, :www_authenticate, 0, 1, "realm"], String.duplicate("r", 3000)},
        {[:headers, :www_authenticate, 0, 1, "nonce"], String.duplicate("n", 3000)}
      ]}},
    {"auth-many-params",
     {:accept,
      [
        {[:headers, :authorization, 0, 0], "Digest"},
        {[:headers, :authorization, 0, 1], Map.new(0..1999, &{"p#{&1}", "v"})}
      ]}},
    {"ruri-user-overlong",
     {:accept, [{[:start_line, :request_uri, :userinfo], String.duplicate("1", 5000)}]}},
    {"publish-etag-overlong",
     {:accept, [{[:headers, "SIP-If-Match"], [String.duplicate("e", 2000)]}]}},
    {"event-empty", {:field_error, "Event", [""]}},
    {"expires-zero-subscribe",
     {:accept, [{[:headers, :expires], 0}, {[:headers, "Event"], ["presence"]}]}},
    # RFC3261§25.1 - control octets are no qdtext; one that wants to show colours in a terminal is no name.
    {"from-display-ctl", {:error, :invalid_header, "From"}}
  ]

  @structure [
    {"leading-crlf", {:accept, [{[:start_line, :method], :options}]}},
    # RFC3261§7 wants CRLF; peers that send bare LF are many, and the README's example has them.
    {"lf-only", {:accept, [{[:headers, :cseq], {1, :options}}, {[:body], ""}]}},
    {"mixed-eol", {:error, :control_character, nil}},
    {"start-line-only", {:invalid, "Via"}},
    {"header-no-colon", {:error, :invalid_header_line, nil}},
    {"fold-whitespace-only", {:accept, [{[:headers, :subject], "a b"}]}},
    {"start-line-folded", {:error, :invalid_start_line, nil}},
    {"utf8-bom", {:error, :invalid_start_line, nil}},
    {"rtsp-request", {:error, :invalid_start_line, nil}},
    # RFC5626§4.4.2 - a STUN request is no message: the Router answers it, or drops it. Here it only must not be taken
    # for SIP.
    {"stun-binding", {:error, :control_character, nil}},
    {"random-binary", {:error, :control_character, nil}},
    {"nul-padding", {:accept, [{[:body], ""}]}},
    {"two-messages-udp", {:accept, [{[:start_line, :method], :options}, {[:body], ""}]}},
    {"header-10000", {:error, :too_many_headers, nil}},
    {"header-value-1mb", {:error, :message_too_large, nil}},
    # User-Agent is text here, so no depth is ever counted.
    {"comment-depth-20000",
     {:accept,
      [
        {[:headers, :user_agent],
         "x " <> String.duplicate("(", 20_000) <> String.duplicate(")", 20_000)}
      ]}},
    {"via-1000",
     {:accept,
      [
        {[:headers, :via, 1000],
         {{2, 0}, :udp, {"h999.example.com", 5060}, %{"branch" => "z9hG4bK999"}}},
        {[:headers, :via, 1001], nil}
      ]}},
    {"quoted-backslashes", {:error, :invalid_header, "From"}},
    # RFC3261§25.1 - quoted-pair escapes neither CR nor LF, folded or not.
    {"quoted-crlf-escape", {:error, :invalid_header, "From"}},
    # RFC3261§25.1 - quoted-string is UTF-8. The octets are kept as they came: a proxy has no business with them, and
    # nothing is decoded that could turn into something else.
    {"display-invalid-utf8", {:accept, [{[:headers, :from, 0], <<0xFF, 0xFE, 0xC0, 0x80>>}]}},
    {"display-overlong-utf8-nul", {:accept, [{[:headers, :from, 0], <<0xC0, 0x80>>}]}},
    {"ruri-raw-nul", {:error, :control_character, nil}},
    # RFC3261§25.1 - TEXT-UTF8-TRIM has no control octets, and what C programs cut at NUL is not what was signed.
    {"header-value-nul", {:error, :control_character, nil}}
  ]

  @start_line [
    {"sl-no-version", {:error, :invalid_start_line, nil}},
    {"sl-no-uri", {:error, :invalid_start_line, nil}},
    {"sl-tab", {:error, :invalid_start_line, nil}},
    {"sl-leading-space", {:error, :invalid_start_line, nil}},
    {"sl-method-separator", {:error, :invalid_start_line, nil}},
    # A token of any length is legal; with its header block it is over what fits a datagram.
    {"sl-method-65536", {:error, :headers_too_large, nil}},
    {"sl-uri-empty-host", {:error, :invalid_request_uri, nil}},
    # RFC3261§25.1 - IPv6reference has no zone id, and one has no meaning to the peer.
    {"sl-uri-ipv6-zone", {:error, :invalid_request_uri, nil}},
    # RFC3261§25.1 has no underscore in a host name; host names in the field have.
    {"sl-uri-host-underscore",
     {:accept, [{[:start_line, :request_uri, :host], "my_host.example.com"}]}},
    {"st-099", {:error, :invalid_status_code, nil}},
    {"st-700", {:error, :invalid_status_code, nil}},
    {"st-two-digits", {:error, :invalid_status_code, nil}},
    # RFC4475§3.1.1.13 - "a liberal receiver would accept it anyway"
    {"st-no-space-after-code",
     {:accept, [{[:start_line, :status_code], 200}, {[:start_line, :reason_phrase], ""}]}},
    {"st-negative", {:error, :invalid_status_code, nil}}
  ]

  @fields [
    {"cseq-empty", {:error, :invalid_header, "CSeq"}},
    {"cseq-no-method", {:error, :invalid_header, "CSeq"}},
    {"cseq-no-number", {:error, :invalid_header, "CSeq"}},
    {"cseq-hex", {:error, :invalid_header, "CSeq"}},
    {"cseq-2p31-1", {:accept, [{[:headers, :cseq], {2_147_483_647, :options}}]}},
    {"cseq-tab-fold", {:accept, [{[:headers, :cseq], {1, :options}}]}},
    {"maxfwd-negative", {:error, :invalid_header, "Max-Forwards"}},
    # RFC4475§3.4.1 - a From of RFC 2543 has no tag, and its sender is still served.
    {"from-no-tag", {:accept, [{[:headers, :from, 2], %{}}]}},
    # An empty tag is none, and of two the last counts: nothing is refused that every other stack takes.
    {"from-empty-tag", {:accept, [{[:headers, :from, 2], %{}}]}},
    {"from-dup-tag", {:accept, [{[:headers, :from, 2], %{"tag" => "b"}}]}},
    {"from-unclosed-angle", {:error, :invalid_header, "From"}},
    {"from-nested-angle", {:error, :invalid_header, "From"}},
    {"from-comma-unquoted", {:error, :invalid_header, "From"}},
    {"from-question-no-angle", {:error, :invalid_header, "From"}},
    {"to-multi-value", {:error, :invalid_header, "To"}},
    # An empty branch is none, and a Via without one is of RFC 2543.
    {"via-branch-empty", {:accept, [{[:headers, :via, 0, 3], %{}}]}},
    # RFC3261§25.1 - in quotes it is no via-branch, but it is a via-extension.
    {"via-branch-quoted", {:accept, [{[:headers, :via, 0, 3, "branch"], "z9hG4bKx"}]}},
    # RFC3261§18.2.1, RFC3581§4 - the receiver overwrites both, so what stands there does no harm.
    {"via-rport-text", {:accept, [{[:headers, :via, 0, 3, "rport"], "abc"}]}},
    {"via-received-host", {:accept, [{[:headers, :via, 0, 3, "received"], "evil.example.com"}]}},
    {"contact-star-and-uri", {:degraded, "Contact", ["*, <sip:a@192.0.2.1>"]}},
    # RFC3261§10.2.1.1 - who needs the number decides; to all others they are parameters as any.
    {"contact-q-2", {:accept, [{[:headers, :contact, 0, 2], %{"q" => "2"}}]}},
    {"contact-q-4digits", {:accept, [{[:headers, :contact, 0, 2], %{"q" => "0.3333"}}]}},
    {"contact-expires-negative", {:accept, [{[:headers, :contact, 0, 2], %{"expires" => "-5"}}]}},
    {"cl-plus", {:error, :invalid_header, "Content-Length"}},
    {"cl-space-inside", {:error, :invalid_header, "Content-Length"}},
    {"cl-list-same", {:error, :invalid_header, "Content-Length"}},
    # RFC3261§7.3.1 - only a header whose value is a list may repeat, be its values equal or not.
    {"cl-dup-same", {:error, :repeated_header, "Content-Length"}},
    {"missing-from", {:invalid, "From"}},
    {"missing-to", {:invalid, "To"}},
    {"missing-callid", {:invalid, "Call-ID"}},
    {"missing-cseq", {:invalid, "CSeq"}},
    # RFC3261§20.30 - name-addr only. Without brackets lr is the URI's, or loose routing would break.
    {"record-route-no-angle",
     {:accept,
      [
        {[:headers, :record_route, 0, 1, :parameters], ";lr"},
        {[:headers, :record_route, 0, 2], %{}}
      ]}}
  ]

  @rows @advisories ++ @structure ++ @start_line ++ @fields

  for {title, rows} <- [
        {"published advisories", @advisories},
        {"RFC3261§7 structure", @structure},
        {"RFC3261§7.1, §7.2 start line", @start_line},
        {"RFC3261§20 fields", @fields}
      ] do
    describe title do
      for {name, expected} <- rows do
        @tag expected: expected
        test name, %{expected: expected} do
          judge(expected, Message.parse(Corpus.fixture!("bad/#{unquote(name)}")))
        end
      end
    end
  end

  test "what validation says of a long method is short" do
    raw = Corpus.fixture!("bad/cseq-long-method-no-branch")
    assert {:ok, message} = Message.parse(raw)
    assert message.headers.cseq == {0, unquote(cseq_method)}
    assert [{_, :udp, {"192.0.2.1", 5060}, no_branch}] = message.headers.via
    assert no_branch == %{}
    assert {:error, text} = Message.validate(message)
    assert byte_size(text) < 200
  end

  test "an error quotes at most 80 octets, none of them a control character" do
    for {name, raw} <- Corpus.fixtures("bad"),
        {:error, %ParseError{} = error} <- [Message.parse(raw)] do
      assert byte_size(error.excerpt) <= 80, name
      refute error.excerpt =~ ~r/[\x00-\x1f\x7f]/, name
      assert String.valid?(error.excerpt), name
      refute Exception.message(error) =~ ~r/[\x00-\x1f\x7f]/, name
    end
  end

  test "every file has its row, and every row its file" do
    files = for {name, _raw} <- Corpus.fixtures("bad"), do: name
    assert length(files) == 95
    assert Enum.sort(for {name, _expected} <- @rows, do: name) == files
  end

  test "the rows say what PATTERNS.tsv says" do
    patterns =
      for [file, _size, _class, verdict | _] <- Corpus.table!("bad/PATTERNS.tsv"),
          do: {file, verdict}

    assert length(patterns) == length(@rows)

    for {file, verdict} <- patterns, file != "stun-binding.dat" do
      {_name, expected} = List.keyfind(@rows, Path.rootname(file), 0)
      assert elem(expected, 0) in kinds(verdict), "#{file}: #{verdict}"
    end
  end

  defp kinds("accept"), do: [:accept]
  defp kinds("reject"), do: [:error, :invalid]
  defp kinds("field-error"), do: [:degraded, :field_error]
  defp kinds("either"), do: [:accept, :error]

  defp judge({:error, reason, header}, parsed) do
    assert {:error, %ParseError{} = error} = parsed
    assert {error.reason, error.header} == {reason, header}
  end

  defp judge({:invalid, text}, {:ok, message}) do
    assert {:error, reason} = Message.validate(message)
    assert reason =~ text
  end

  defp judge({:degraded, name, lines}, {:ok, message}) do
    assert Message.validate(message) == :ok
    assert message.headers[name] == lines
    refute Map.has_key?(message.headers, Corpus.key(name))

    assert {:error, %ParseError{reason: :invalid_header, header: ^name}} =
             Headers.parse(name, lines)

    assert Message.to_string(message) =~ "\r\n#{name}: #{Enum.join(lines, "\r\n#{name}: ")}\r\n"
  end

  defp judge({:field_error, name, lines}, {:ok, message}) do
    assert Message.validate(message) == :ok
    assert message.headers[name] == lines

    assert {:error, %ParseError{reason: :invalid_header, header: ^name}} =
             Headers.parse(name, lines)
  end

  defp judge({:accept, values}, {:ok, message}) do
    assert Message.validate(message) == :ok
    for {path, value} <- values, do: assert(at(message, path) == value)
  end

  defp judge(expected, {:error, error}),
    do: flunk("expected #{inspect(expected, limit: 5)}, got: #{Exception.message(error)}")

  # Keys of maps and structs, places in lists and tuples; nil where there is nothing.
  defp at(term, []), do: term
  defp at(list, [place | rest]) when is_list(list), do: list |> Enum.at(place) |> at(rest)
  defp at(tuple, [place | rest]) when is_tuple(tuple), do: tuple |> elem(place) |> at(rest)
  defp at(map, [key | rest]) when is_map(map), do: map |> Map.get(key) |> at(rest)
end
