defmodule Sippet.Message.Response do
  @moduledoc false
  # What a response takes over from its request, and the tag that it adds.

  alias Sippet.Message.RequestLine
  alias Sippet.Message.Tag
  alias Sippet.{Secret, URI}

  # RFC3261§8.2.6.2 - these equal those of the request
  @copied [:via, :from, :to, :call_id, :cseq]

  # Each of these stands under its key, or as text under its name where it came malformed.
  @timestamp [:timestamp, "Timestamp"]
  @record_route [:record_route, "Record-Route"]

  # Octets of the digest that make the tag: 96 bits, 24 characters. RFC3261§19.3 asks for 32 bits at least.
  @tag_size 12

  @doc """
  The headers of the response with this status to a request. What the request lacks, the response lacks.
  """
  @spec headers(map, 100..699) :: map
  # RFC3261§8.2.6.1 - a Timestamp is copied into the 100, and a 100 needs no tag
  def headers(%{headers: headers}, 100), do: Map.take(headers, @timestamp ++ @copied)

  def headers(%{headers: headers} = request, status) do
    case Map.take(headers, copied(status)) do
      %{to: {_name, _uri, %{"tag" => _tag}}} = copied ->
        copied

      %{to: {name, uri, %{} = params}} = copied ->
        %{copied | to: {name, uri, tagged(params, request)}}

      copied ->
        copied
    end
  end

  # RFC3261§12.1.1, §20 table 3 - a response that can establish a dialog has the Record-Route, and no other
  defp copied(status) when status < 300, do: @record_route ++ @copied
  defp copied(_status), do: @copied

  defp tagged(params, request), do: Map.put(params, "tag", tag(request))

  # RFC3261§8.2.6.2, §19.3 - the same tag for all responses to one request, hard to guess for any other. A digest of a
  # secret and of what identifies the request gives both, without state, and to a CANCEL the tag of its INVITE (§9.2): the
  # method is left out. Of the digest too much is cut off to make that of a longer text of it.
  defp tag(request) do
    identity = :erlang.term_to_binary(identity(request))

    <<tag::binary-size(@tag_size), _rest::binary>> =
      :crypto.hash(:sha256, [Secret.fetch(__MODULE__) | identity])

    # Of 64 letters a tag may happen to spell what a careless peer looks for, as CSeq.
    Base.encode16(tag, case: :lower)
  end

  defp identity(%{start_line: %RequestLine{request_uri: uri}, headers: headers}) do
    {top_via(headers), Tag.of(headers[:from]), headers[:call_id], number(headers[:cseq]),
     target(uri)}
  end

  # `received` and `rport` are left out: they are written after the request came in.
  defp top_via(%{via: [{_version, _protocol, {host, port}, %{} = params} | _]}),
    do: [port, host | params["branch"]]

  defp top_via(_headers), do: nil

  defp target(%URI{authority: authority}) when authority != nil, do: authority
  defp target(uri), do: uri

  defp number({number, _method}), do: number
  defp number(_cseq), do: nil
end
