defmodule Sippet.Trace.Text do
  @moduledoc false
  # Text of the network's made fit for a terminal and for files: nothing of it acts on who reads it.

  @doc """
  Valid UTF-8 without control characters, and without those that turn the direction of writing: each octet or
  character of them is written as `\\xNN` or `\\u{…}`.

      iex> Sippet.Trace.Text.printable("a\\e[1m\\xff\\u202Eé")
      "a\\\\x1B[1m\\\\xFF\\\\u{202E}é"
  """
  @spec printable(binary) :: String.t()
  def printable(text), do: text |> safe(fn _character -> false end) |> IO.iodata_to_binary()

  @doc """
  The same of many lines: their ends stay, as line feeds, and tabs.
  """
  @spec lines(binary) :: String.t()
  def lines(text) do
    text
    |> :binary.replace("\r\n", "\n", [:global])
    |> safe(&(&1 in [?\n, ?\t]))
    |> IO.iodata_to_binary()
  end

  defp safe(<<c::utf8, rest::binary>>, keep?) do
    [if(plain?(c) or keep?.(c), do: <<c::utf8>>, else: escaped(c)) | safe(rest, keep?)]
  end

  defp safe(<<octet, rest::binary>>, keep?), do: [hex(octet) | safe(rest, keep?)]
  defp safe(<<>>, _keep?), do: []

  # C0, DEL, C1; the embeddings, overrides, isolates and marks of direction; line separators; and what XML has not.
  defp plain?(c) when c < 0x20 or c in 0x7F..0x9F, do: false
  defp plain?(c) when c in 0x200B..0x200F or c in 0x2028..0x202E or c in 0x2066..0x2069, do: false
  defp plain?(c) when c in [0x061C, 0xFEFF, 0xFFFE, 0xFFFF], do: false
  defp plain?(_c), do: true

  defp escaped(c) when c < 0x80, do: hex(c)
  defp escaped(c), do: ["\\u{", Integer.to_string(c, 16), "}"]

  defp hex(octet), do: ["\\x", octet |> Integer.to_string(16) |> String.pad_leading(2, "0")]

  @doc """
  At most so many characters, the last being an ellipsis where some were left out.
  """
  @spec shorten(String.t(), pos_integer) :: String.t()
  def shorten(text, length) do
    # Of a megabyte the beginning is enough to see that it is too long.
    if byte_size(text) <= length or String.length(text) <= length,
      do: text,
      else: String.slice(text, 0, length - 1) <> "…"
  end

  @doc """
  Printable text as it may stand between the tags of XML and HTML and in their attributes.
  """
  @spec markup(String.t()) :: iodata
  def markup(text) do
    for <<c::utf8 <- text>> do
      case c do
        ?& -> "&amp;"
        ?< -> "&lt;"
        ?> -> "&gt;"
        ?" -> "&quot;"
        ?' -> "&#39;"
        c -> <<c::utf8>>
      end
    end
  end

  @doc """
  An address as it is read: `192.0.2.1:5060`, `[2001:db8::1]:5060`, `biloxi.com`.
  """
  @spec address({:inet.ip_address() | String.t(), :inet.port_number() | nil}) :: String.t()
  def address({host, nil}), do: host(host)
  def address({host, port}), do: "#{host(host)}:#{port}"

  defp host(host) when is_binary(host), do: host |> printable() |> shorten(60)
  defp host(ip), do: Sippet.Address.to_host(ip)

  @doc """
  A time as ISO 8601 has it, in UTC; `-` for one beyond the year 9999, which a capture can hold.

      iex> Sippet.Trace.Text.time(0)
      "1970-01-01T00:00:00.000000Z"

      iex> Sippet.Trace.Text.time(253_402_300_800_000_000)
      "-"
  """
  @spec time(integer) :: String.t()
  def time(microseconds) do
    case DateTime.from_unix(microseconds, :microsecond) do
      {:ok, time} -> DateTime.to_iso8601(time)
      {:error, _beyond} -> "-"
    end
  end

  @doc """
  How long after the first message, in seconds: `+1.204`.
  """
  @spec offset(integer | nil) :: String.t()
  def offset(nil), do: ""
  def offset(us) when us < 0, do: "-" <> seconds(-us)
  def offset(us), do: "+" <> seconds(us)

  defp seconds(us) do
    ms = us |> div(1_000) |> rem(1_000) |> Integer.to_string() |> String.pad_leading(3, "0")
    "#{div(us, 1_000_000)}.#{ms}"
  end
end
