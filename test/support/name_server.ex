defmodule Sippet.NameServer do
  @moduledoc false
  # A name server on loopback, over UDP. A function of `{name, type}` says what it answers; the test is told of each question as
  # `{:asked, name, type}`.

  use Task

  @loopback {127, 0, 0, 1}

  @typedoc """
  Addresses with their time to live in seconds, that there is no such name, nothing at all, or one of these after so many ms.
  """
  @type answer ::
          {[:inet.ip_address()], non_neg_integer}
          | :nxdomain
          | :silent
          | {:after, pos_integer, answer}

  @doc """
  Starts one that ends with the test. Returns where it listens.
  """
  @spec start(({String.t(), :a | :aaaa} -> answer)) :: {:inet.ip_address(), :inet.port_number()}
  def start(answer) do
    {:ok, socket} = :gen_udp.open(0, [:binary, ip: @loopback, active: true, recbuf: 1_000_000])
    {:ok, port} = :inet.port(socket)
    test = self()

    {:ok, pid} =
      Task.start_link(fn ->
        receive do: (:go -> :ok)
        serve(socket, answer, test)
      end)

    :ok = :gen_udp.controlling_process(socket, pid)
    send(pid, :go)
    {@loopback, port}
  end

  defp serve(socket, answer, test) do
    receive do
      {:udp, ^socket, ip, port, octets} ->
        {:ok, query} = :inet_dns.decode(octets)
        [question] = :inet_dns.msg(query, :qdlist)
        name = question |> :inet_dns.dns_query(:domain) |> List.to_string()
        type = :inet_dns.dns_query(question, :type)
        send(test, {:asked, name, type})
        reply(socket, {ip, port}, query, name, type, answer.({name, type}))

      {:late, to, query, name, type, answer} ->
        reply(socket, to, query, name, type, answer)
    end

    serve(socket, answer, test)
  end

  defp reply(_socket, _to, _query, _name, _type, :silent), do: :ok

  defp reply(_socket, to, query, name, type, {:after, ms, answer}),
    do: Process.send_after(self(), {:late, to, query, name, type, answer}, ms)

  defp reply(socket, {ip, port}, query, name, type, answer) do
    header = :inet_dns.make_header(:inet_dns.msg(query, :header), qr: true, rcode: rcode(answer))
    records = for address <- addresses(answer, type), do: record(name, type, address, ttl(answer))
    message = :inet_dns.make_msg(query, header: header, anlist: records, arlist: [])
    :ok = :gen_udp.send(socket, ip, port, :inet_dns.encode(message))
  end

  defp rcode(:nxdomain), do: 3
  defp rcode(_found), do: 0

  defp ttl({_addresses, ttl}), do: ttl
  defp ttl(:nxdomain), do: 0

  defp addresses({addresses, _ttl}, type) do
    size = if type == :a, do: 4, else: 8
    Enum.filter(addresses, &(tuple_size(&1) == size))
  end

  defp addresses(:nxdomain, _type), do: []

  defp record(name, type, address, ttl) do
    :inet_dns.make_rr(
      domain: String.to_charlist(name),
      type: type,
      class: :in,
      ttl: ttl,
      data: address
    )
  end
end
