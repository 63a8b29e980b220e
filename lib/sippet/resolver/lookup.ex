defmodule Sippet.Resolver.Lookup do
  @moduledoc false
  # One look-up of a host's addresses: in the hosts file, and then at the name servers. It takes its time, in the process that
  # calls.

  alias Sippet.Resolver.ResolvConf

  @typedoc "A result, and for how many milliseconds it may be kept."
  @type found :: {{:ok, [:inet.ip_address()]} | {:error, term}, non_neg_integer}

  # The hosts file is looked at again after as long, by OTP too.
  @hosts_ms 5_000

  # For how long it is kept that there is no such name: what the zone says, within these, or else the first.
  @least_negative_ms 1_000
  @unknown_negative_ms 5_000
  @most_negative_ms 300_000

  # For how long it is kept that no name server gave an answer, or that a look-up failed otherwise.
  @failure_ms 2_000

  # A day: no record is kept longer.
  @most_ms 86_400_000

  # Milliseconds for each question to a name server, and how often it is asked.
  @query [timeout: 1_000, retry: 2]

  @no_such [:nxdomain, :no_address]

  @doc """
  Looks up a name. Of the families the first is taken in which it has an address.
  """
  @spec run(String.t(), [:inet | :inet6], map) :: found
  def run(name, families, options) do
    name = String.downcase(name, :ascii)

    cond do
      # RFC6761§6.4 - such a name is never anybody's; RFC1035§2.3.4 - nor is one of labels that can't be asked for
      tld(name) == "invalid" or not labels?(name) -> {{:error, :nxdomain}, @most_negative_ms}
      found = in_hosts(name, families) -> found
      # RFC6761§6.3
      tld(name) == "localhost" -> {{:ok, [loopback(hd(families))]}, @hosts_ms}
      true -> ask_all(name, families, options)
    end
  end

  @longest_label 63

  defp labels?(name) do
    labels = name |> String.replace_suffix(".", "") |> String.split(".")
    Enum.all?(labels, &(byte_size(&1) in 1..@longest_label))
  end

  defp tld(name), do: name |> String.trim_trailing(".") |> String.split(".") |> List.last()

  defp loopback(:inet), do: {127, 0, 0, 1}
  defp loopback(:inet6), do: {0, 0, 0, 0, 0, 0, 0, 1}

  defp in_hosts(name, families) do
    Enum.find_value(families, fn family ->
      case :inet_hosts.gethostbyname(to_charlist(name), family) do
        {:ok, {:hostent, _name, _aliases, _family, _length, addresses}} ->
          {{:ok, addresses}, @hosts_ms}

        {:error, _reason} ->
          nil
      end
    end)
  end

  ## The DNS

  defp ask_all(name, families, options) do
    conf = ResolvConf.read(options.resolv_conf)
    nameservers = options.nameservers || conf.nameservers

    first_found(
      for whole <- ResolvConf.whole_names(conf, name), family <- families do
        fn -> ask(whole, family, nameservers) end
      end
    )
  end

  # What is found first counts, else the first failure of a server, else that there is none.
  defp first_found(questions) do
    Enum.reduce_while(questions, {{:error, :nxdomain}, @most_negative_ms}, fn ask, before ->
      case ask.() do
        {{:ok, _addresses}, _ms} = found -> {:halt, found}
        {{:error, reason}, _ms} = none when reason in @no_such -> {:cont, shorter(before, none)}
        failed -> {:halt, failed}
      end
    end)
  end

  # That a name has no address of a family says more than that it does not exist.
  defp shorter({{:error, reason}, one}, {{:error, other}, two}) do
    reason = if :no_address in [reason, other], do: :no_address, else: :nxdomain
    {{:error, reason}, min(one, two)}
  end

  defp ask(name, family, nameservers) do
    type = if family == :inet, do: :a, else: :aaaa

    case resolve(to_charlist(name), type, [{:nameservers, nameservers} | @query]) do
      {:ok, message} -> answered(message, type)
      {:error, {:nxdomain, message}} -> {{:error, :nxdomain}, negative_ms(message)}
      {:error, :nxdomain} -> {{:error, :nxdomain}, @unknown_negative_ms}
      {:error, :timeout} -> failed(:dns_timeout)
      {:error, {reason, _message}} -> failed(reason)
      {:error, reason} -> failed(reason)
    end
  end

  @doc """
  What is found by a look-up that failed.
  """
  @spec failed(term) :: found
  def failed(reason), do: {{:error, reason}, @failure_ms}

  defp resolve(name, type, options) do
    options = [{:nxdomain_reply, true} | options]

    # A truncated answer without records is taken for a malformed one by OTP 27.
    with {:error, :formerr} <- :inet_res.resolve(name, :in, type, options),
         do: :inet_res.resolve(name, :in, type, [{:usevc, true} | options])
  end

  # Of a chain of CNAMEs, all records are there.
  defp answered(message, type) do
    records = message |> :inet_dns.msg(:anlist) |> Enum.map(&record/1)
    addresses = for %{type: ^type, data: address} <- records, do: address

    if addresses == [] do
      {{:error, :no_address}, negative_ms(message)}
    else
      seconds = records |> Enum.map(& &1.ttl) |> Enum.min()
      {{:ok, addresses}, min(1_000 * seconds, @most_ms)}
    end
  end

  defp record(record),
    do: Map.new([:type, :data, :ttl], &{&1, :inet_dns.rr(record, &1)})

  # RFC2308§5 - the lesser of the SOA's own time to live and its field "minimum"
  defp negative_ms(message) do
    soa =
      for %{type: :soa} = record <- message |> :inet_dns.msg(:nslist) |> Enum.map(&record/1),
          do: record

    case soa do
      [%{ttl: ttl, data: data} | _] ->
        seconds = min(ttl, elem(data, tuple_size(data) - 1))
        1_000 |> Kernel.*(seconds) |> max(@least_negative_ms) |> min(@most_negative_ms)

      [] ->
        @unknown_negative_ms
    end
  end
end
