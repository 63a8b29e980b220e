defmodule Sippet.Message.StatusLine do
  @moduledoc """
  The first line of a response.

      iex> line = Sippet.Message.StatusLine.new(404)
      iex> {line.status_code, line.reason_phrase, to_string(line)}
      {404, "Not Found", "SIP/2.0 404 Not Found"}

    * `status_code` - an integer in `100..699`
    * `reason_phrase` - free text for people, maybe empty
    * `version` - `{2, 0}`
  """

  alias Sippet.Serializer

  defstruct status_code: nil, reason_phrase: nil, version: {2, 0}

  @type status_code :: 100..699

  @type t :: %__MODULE__{
          status_code: status_code,
          reason_phrase: binary,
          version: {major :: non_neg_integer, minor :: non_neg_integer}
        }

  # The registry "SIP Response Codes" of IANA.
  @reasons %{
    100 => "Trying",
    180 => "Ringing",
    181 => "Call Is Being Forwarded",
    182 => "Queued",
    183 => "Session Progress",
    199 => "Early Dialog Terminated",
    200 => "OK",
    202 => "Accepted",
    204 => "No Notification",
    300 => "Multiple Choices",
    301 => "Moved Permanently",
    302 => "Moved Temporarily",
    305 => "Use Proxy",
    380 => "Alternative Service",
    400 => "Bad Request",
    401 => "Unauthorized",
    402 => "Payment Required",
    403 => "Forbidden",
    404 => "Not Found",
    405 => "Method Not Allowed",
    406 => "Not Acceptable",
    407 => "Proxy Authentication Required",
    408 => "Request Timeout",
    410 => "Gone",
    412 => "Conditional Request Failed",
    413 => "Request Entity Too Large",
    414 => "Request-URI Too Long",
    415 => "Unsupported Media Type",
    416 => "Unsupported URI Scheme",
    417 => "Unknown Resource-Priority",
    420 => "Bad Extension",
    421 => "Extension Required",
    422 => "Session Interval Too Small",
    423 => "Interval Too Brief",
    424 => "Bad Location Information",
    425 => "Bad Alert Message",
    428 => "Use Identity Header",
    429 => "Provide Referrer Identity",
    430 => "Flow Failed",
    433 => "Anonymity Disallowed",
    436 => "Bad Identity-Info",
    437 => "Unsupported Certificate",
    438 => "Invalid Identity Header",
    439 => "First Hop Lacks Outbound Support",
    440 => "Max-Breadth Exceeded",
    469 => "Bad Info Package",
    470 => "Consent Needed",
    480 => "Temporarily Unavailable",
    481 => "Call/Transaction Does Not Exist",
    482 => "Loop Detected",
    483 => "Too Many Hops",
    484 => "Address Incomplete",
    485 => "Ambiguous",
    486 => "Busy Here",
    487 => "Request Terminated",
    488 => "Not Acceptable Here",
    489 => "Bad Event",
    491 => "Request Pending",
    493 => "Undecipherable",
    494 => "Security Agreement Required",
    500 => "Server Internal Error",
    501 => "Not Implemented",
    502 => "Bad Gateway",
    503 => "Service Unavailable",
    504 => "Server Time-out",
    505 => "Version Not Supported",
    513 => "Message Too Large",
    555 => "Push Notification Service Not Supported",
    580 => "Precondition Failure",
    600 => "Busy Everywhere",
    603 => "Decline",
    604 => "Does Not Exist Anywhere",
    606 => "Not Acceptable",
    607 => "Unwanted",
    608 => "Rejected"
  }

  @doc """
  Makes a status line with the registered reason phrase.

  A status that is not in `100..699`, or for which no phrase is registered, raises `ArgumentError`.

      iex> Sippet.Message.StatusLine.new(400)
      %Sippet.Message.StatusLine{status_code: 400, reason_phrase: "Bad Request", version: {2, 0}}

  """
  @spec new(status_code) :: t
  def new(status_code), do: new(status_code, default_reason!(status_code))

  @doc """
  Makes a status line with a reason phrase of one's own.

      iex> Sippet.Message.StatusLine.new(499, "Client Has Left")
      %Sippet.Message.StatusLine{status_code: 499, reason_phrase: "Client Has Left", version: {2, 0}}

  """
  @spec new(status_code, binary) :: t
  def new(status_code, reason_phrase) when is_binary(reason_phrase),
    do: %__MODULE__{status_code: checked!(status_code), reason_phrase: reason_phrase}

  @doc """
  The class of a status: the first of its three digits.

      iex> Sippet.Message.StatusLine.status_code_class(Sippet.Message.StatusLine.new(202))
      2

  """
  @spec status_code_class(t) :: 1..6
  def status_code_class(%__MODULE__{status_code: status_code}), do: div(status_code, 100)

  @doc """
  The registered reason phrase of a status, or `nil`.

      iex> Sippet.Message.StatusLine.default_reason(202)
      "Accepted"
      iex> Sippet.Message.StatusLine.default_reason(499)
      nil

  """
  @spec default_reason(status_code) :: binary | nil
  def default_reason(status_code), do: Map.get(@reasons, status_code)

  @doc """
  The registered reason phrase of a status; raises `ArgumentError` when there is none.

      iex> Sippet.Message.StatusLine.default_reason!(486)
      "Busy Here"
      iex> Sippet.Message.StatusLine.default_reason!(499)
      ** (ArgumentError) no reason phrase is registered for the status code 499

  """
  @spec default_reason!(status_code) :: binary
  def default_reason!(status_code) do
    status_code |> checked!() |> default_reason() ||
      raise ArgumentError, "no reason phrase is registered for the status code #{status_code}"
  end

  @doc """
  The line as text, without its line end.

      iex> Sippet.Message.StatusLine.to_string(Sippet.Message.StatusLine.new(180))
      "SIP/2.0 180 Ringing"

  """
  @spec to_string(t) :: binary
  def to_string(%__MODULE__{} = line), do: Serializer.start_line(line)

  @doc """
  The line as iodata, without its line end; a reason phrase that holds a line end raises `ArgumentError`.
  """
  @spec to_iodata(t) :: iodata
  def to_iodata(%__MODULE__{} = line), do: Serializer.start_line(line)

  defp checked!(status_code) when status_code in 100..699, do: status_code

  defp checked!(status_code) do
    raise ArgumentError, "expected a status code in 100..699, got: #{inspect(status_code)}"
  end

  defimpl String.Chars do
    def to_string(line), do: Sippet.Message.StatusLine.to_string(line)
  end
end
