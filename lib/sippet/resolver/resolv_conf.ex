defmodule Sippet.Resolver.ResolvConf do
  @moduledoc false
  # What resolv.conf says: the name servers, and which names a short name stands for.

  alias Sippet.Address

  @default_ndots 1

  # As the system's own resolver has it.
  @most_ndots 15

  @dns_port 53

  defstruct nameservers: [], search: [], ndots: @default_ndots

  @type t :: %__MODULE__{
          nameservers: [{:inet.ip_address(), :inet.port_number()}],
          search: [String.t()],
          ndots: non_neg_integer
        }

  # Whom resolv.conf(5) has the system's resolver ask, where no server is named.
  @own [{{127, 0, 0, 1}, @dns_port}]

  @doc """
  Reads the file. One that is not there names no server, and then it is the machine's own.
  """
  @spec read(Path.t()) :: t
  def read(path) do
    conf =
      case File.read(path) do
        {:ok, text} -> parse(text)
        {:error, _reason} -> %__MODULE__{}
      end

    if conf.nameservers == [], do: %{conf | nameservers: @own}, else: conf
  end

  @doc """
  Reads the text of such a file. What can't be read is passed over.
  """
  @spec parse(binary) :: t
  def parse(text) do
    text
    |> :binary.split(["\n", "\r"], [:global])
    |> Enum.map(&words/1)
    |> Enum.reduce(%__MODULE__{}, &line/2)
    |> Map.update!(:nameservers, &Enum.reverse/1)
  end

  defp words(line) do
    [words | _comment] = :binary.split(line, ["#", ";"])
    String.split(words)
  end

  defp line(["nameserver", text | _], conf) do
    case Address.parse(text) do
      {:ok, ip} -> %{conf | nameservers: [{ip, @dns_port} | conf.nameservers]}
      :error -> conf
    end
  end

  # Of several the last one counts.
  defp line(["domain", domain | _], conf), do: %{conf | search: [domain]}
  defp line(["search" | domains], conf), do: %{conf | search: domains}
  defp line(["options" | options], conf), do: Enum.reduce(options, conf, &option/2)
  defp line(_other, conf), do: conf

  defp option("ndots:" <> number, conf) do
    case Integer.parse(number) do
      {ndots, ""} when ndots >= 0 -> %{conf | ndots: min(ndots, @most_ndots)}
      _malformed -> conf
    end
  end

  defp option(_other, conf), do: conf

  @doc """
  The whole names that a name may stand for, in the order in which they are asked for.

      iex> alias Sippet.Resolver.ResolvConf
      iex> conf = %ResolvConf{search: ["a.example", "b.example"]}
      iex> {ResolvConf.whole_names(conf, "db"), ResolvConf.whole_names(conf, "db.c.example")}
      {["db.a.example", "db.b.example", "db"], ["db.c.example", "db.c.example.a.example", "db.c.example.b.example"]}
      iex> ResolvConf.whole_names(conf, "db.")
      ["db"]
  """
  @spec whole_names(t, String.t()) :: [String.t()]
  def whole_names(%__MODULE__{search: search, ndots: ndots}, name) do
    dots = length(:binary.matches(name, "."))

    cond do
      String.ends_with?(name, ".") -> [String.trim_trailing(name, ".")]
      dots >= ndots -> [name | searched(search, name)]
      true -> searched(search, name) ++ [name]
    end
  end

  defp searched(search, name),
    do: for(domain <- search, domain != ".", do: name <> "." <> String.trim(domain, "."))
end
