defmodule Sippet.Message.Completion do
  @moduledoc false
  # The headers that every request needs, and that say nothing about what it is for (RFC 3261 §8.1.1).

  alias Sippet.Headers.Table
  alias Sippet.Message.{HeaderMap, Random, RequestLine}

  # RFC3261§8.1.1.6
  @max_forwards 70

  # RFC3261§8.1.1.5 - any number below 2**31 may be the first
  @first_number 1

  @doc """
  The CSeq number of a request that names none.
  """
  @spec first_number() :: pos_integer
  def first_number, do: @first_number

  @doc """
  The Max-Forwards of a request that names none.
  """
  @spec max_forwards() :: pos_integer
  def max_forwards, do: @max_forwards

  @doc """
  A Via whose sent-by is left to the stack, with a new branch.
  """
  @spec via() :: tuple
  def via, do: {{2, 0}, :any, {"", 0}, %{"branch" => Random.branch()}}

  @doc """
  Puts what is missing. Of a request with several Vias, which is that of another, only the topmost is completed.
  """
  @spec complete(request) :: request when request: map
  # RFC3261§9.1 - all of a CANCEL is its INVITE's
  def complete(%{start_line: %RequestLine{method: :cancel}, headers: headers} = cancel),
    do: %{cancel | headers: put_new(headers, :max_forwards, fn -> @max_forwards end)}

  def complete(%{start_line: %RequestLine{} = line, headers: headers} = request) do
    headers = headers |> put_new(:max_forwards, fn -> @max_forwards end) |> put_via()

    case headers do
      %{via: [_own, _other | _]} -> %{request | headers: headers}
      %{} -> %{request | headers: own(headers, line)}
    end
  end

  defp own(headers, line) do
    headers
    |> put_from_tag()
    |> put_to(line)
    |> put_new(:call_id, &Random.call_id/0)
    |> put_new(:cseq, fn -> {@first_number, line.method} end)
  end

  defp put_new(headers, key, _fun) when is_map_key(headers, key), do: headers

  defp put_new(headers, key, fun) do
    # It may stand as text, under its name.
    if HeaderMap.has?(headers, Table.name(key)),
      do: headers,
      else: Map.put(headers, key, fun.())
  end

  # RFC3261§8.1.1.7
  defp put_via(%{via: [{_version, _protocol, _sent_by, %{"branch" => _}} | _]} = headers),
    do: headers

  defp put_via(%{via: [{version, protocol, sent_by, %{} = params} | vias]} = headers) do
    params = Map.put(params, "branch", Random.branch())
    %{headers | via: [{version, protocol, sent_by, params} | vias]}
  end

  defp put_via(%{via: []} = headers), do: %{headers | via: [via()]}
  defp put_via(headers), do: put_new(headers, :via, fn -> [via()] end)

  # RFC3261§8.1.1.3
  defp put_from_tag(%{from: {_name, _uri, %{"tag" => _}}} = headers), do: headers

  defp put_from_tag(%{from: {name, uri, %{} = params}} = headers),
    do: %{headers | from: {name, uri, Map.put(params, "tag", Random.tag())}}

  defp put_from_tag(headers), do: headers

  # RFC3261§10.2 - who registers names the address-of-record in both
  defp put_to(%{from: {name, uri, _params}} = headers, %{method: :register}),
    do: put_new(headers, :to, fn -> {name, uri, %{}} end)

  # RFC3261§8.1.1.1 - the Request-URI is the URI of To
  defp put_to(headers, %{request_uri: uri}), do: put_new(headers, :to, fn -> {"", uri, %{}} end)

  @doc """
  The request as another one: with the next CSeq number and a new branch.
  """
  @spec renew(request) :: request when request: map
  def renew(%{start_line: %RequestLine{method: method}, headers: headers} = request)
      when method not in [:ack, :cancel] do
    headers = Map.replace_lazy(headers, :cseq, fn {number, method} -> {number + 1, method} end)
    complete(%{request | headers: Map.replace_lazy(headers, :via, &without_branch/1)})
  end

  defp without_branch([{version, protocol, sent_by, params} | vias]),
    do: [{version, protocol, sent_by, Map.delete(params, "branch")} | vias]

  defp without_branch([]), do: []
end
