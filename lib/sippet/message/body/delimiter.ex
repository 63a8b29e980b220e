defmodule Sippet.Message.Body.Delimiter do
  @moduledoc false
  # The lines between the parts of a multipart body: RFC2046§5.1.1
  #
  #     dash-boundary     := "--" boundary
  #     delimiter         := CRLF dash-boundary
  #     close-delimiter   := delimiter "--"
  #     transport-padding := *LWSP-char

  # RFC2046§5.1.1 - no longer than 70 characters
  @longest 70

  @opaque t :: :binary.cp()

  @doc """
  The delimiter of a boundary.
  """
  @spec new(String.t() | nil) :: {:ok, t} | {:error, :no_boundary}
  def new(boundary) when is_binary(boundary) and byte_size(boundary) in 1..@longest,
    do: {:ok, :binary.compile_pattern("--" <> boundary)}

  def new(_missing), do: {:error, :no_boundary}

  @doc """
  The next delimiter line from `from` on, where a line starts: whether it is the last one, where
  the content before it ends, and where the next line starts.
  """
  @spec next(binary, t, non_neg_integer) ::
          {:open | :close, content_end :: non_neg_integer, next_line :: non_neg_integer} | :none
  def next(body, delimiter, from), do: find(body, delimiter, from, from)

  defp find(body, delimiter, from, search) do
    case :binary.match(body, delimiter, scope: {search, byte_size(body) - search}) do
      {at, size} ->
        with true <- line_start?(body, at),
             {kind, line} <- rest_of_line(body, at + size) do
          {kind, content_end(body, at, from), line}
        else
          _text -> find(body, delimiter, from, at + 1)
        end

      :nomatch ->
        :none
    end
  end

  defp line_start?(_body, 0), do: true
  defp line_start?(body, at), do: :binary.at(body, at - 1) == ?\n

  defp rest_of_line(body, at) do
    case rest(body, at) do
      "--" <> _rest -> line_end(body, at + 2, :close)
      _other -> line_end(body, at, :open)
    end
  end

  # What begins like a delimiter and goes on as text is none: it may be that of a nested part.
  defp line_end(body, at, kind) do
    case rest(body, at) do
      <<c, _rest::binary>> when c in [?\s, ?\t] -> line_end(body, at + 1, kind)
      "\r\n" <> _rest -> {kind, at + 2}
      "\n" <> _rest -> {kind, at + 1}
      "" -> {kind, at}
      _text -> :text
    end
  end

  defp rest(body, at), do: binary_part(body, at, byte_size(body) - at)

  # The line end before the delimiter is the delimiter's. Where there is nothing between two
  # delimiters, it is that of the first one.
  defp content_end(body, at, from) when at - 2 >= from do
    if binary_part(body, at - 2, 2) == "\r\n", do: at - 2, else: at - 1
  end

  defp content_end(_body, _at, from), do: from
end
