defmodule Sippet.Proxy.Report do
  @moduledoc false
  # What a response context notes for who wants to know which target has answered, and when. Where
  # nobody does it is `nil`, and nothing is noted.

  alias Sippet.{Binding, Message, URI}

  @enforce_keys [:fun, :started]
  defstruct [:fun, :started, :ringing, :answered, :target, tried: [], ends: %{}]

  @type t :: %__MODULE__{
          fun: (map -> term),
          started: integer,
          ringing: integer | nil,
          answered: integer | nil,
          target: URI.t() | Binding.t() | nil,
          tried: [{key :: term, URI.t() | Binding.t()}],
          ends: %{(key :: term) => 200..699 | term}
        }

  @doc """
  Begins a report for a function, if there is one.
  """
  @spec new((map -> term) | nil) :: t | nil
  def new(nil), do: nil
  def new(fun), do: %__MODULE__{fun: fun, started: now()}

  @doc """
  What a target is called. A request may be large, and is not kept.
  """
  @spec name(target) :: target when target: URI.t() | Binding.t() | Message.request()
  def name(%Message{start_line: line}), do: line.request_uri
  def name(target), do: target

  @doc """
  Notes that a branch begins.
  """
  @spec tried(t | nil, term, URI.t() | Binding.t()) :: t | nil
  def tried(nil, _key, _target), do: nil
  def tried(report, key, target), do: %{report | tried: [{key, target} | report.tried]}

  @doc """
  Notes a provisional response but 100.
  """
  @spec ringing(t | nil) :: t | nil
  def ringing(%__MODULE__{ringing: nil} = report), do: %{report | ringing: now()}
  def ringing(report), do: report

  @doc """
  Notes how a branch has ended, for now.
  """
  @spec ended(t | nil, term, 200..699 | term) :: t | nil
  def ended(nil, _key, _how), do: nil
  def ended(report, key, how), do: %{report | ends: Map.put(report.ends, key, how)}

  @doc """
  Notes that the caller has its final response, and whose it is; the first one counts.
  """
  @spec answered(t | nil, term) :: t | nil
  def answered(%__MODULE__{answered: nil} = report, key) do
    target = with {_key, target} <- List.keyfind(report.tried, key, 0), do: target
    %{report | answered: now(), target: target}
  end

  def answered(report, _key), do: report

  @doc """
  Hands the report over.
  """
  @spec finish(t | nil, term, boolean) :: term
  def finish(nil, _result, _cancelled?), do: :ok

  def finish(%__MODULE__{fun: fun} = report, result, cancelled?) do
    branches = for {key, target} <- Enum.reverse(report.tried), do: {target, report.ends[key]}

    report
    |> Map.take([:started, :ringing, :answered, :target])
    |> Map.merge(%{result: result, cancelled?: cancelled?, branches: branches, ended: now()})
    |> fun.()
  end

  defp now, do: System.system_time()
end
