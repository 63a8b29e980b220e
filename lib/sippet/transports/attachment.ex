defmodule Sippet.Transports.Attachment do
  @moduledoc false
  # Keeps a transport registered with its stack, in the transport's process: that tries again until the stack is there, and
  # registers anew when the stack has been restarted.

  alias Sippet.{Log, Stack, Transport}

  # Waits before another try to register, in ms: doubled from the first to the last.
  @first_wait 10
  @last_wait 1_000

  # Until it is told that it could not register, and until it is told again, in ms.
  @first_warning 1_000
  @next_warning 60_000

  @enforce_keys [:stack, :protocol, :reliable?, :options, :port]
  defstruct @enforce_keys ++ [monitor: nil, wait: @first_wait, warning: nil]

  @typedoc """
  `monitor` is that of the stack's registrations, while registered. `warning` is when it is told that this could not be done, in
  ms. `options` are those of `Sippet.register_transport/4`, and `port` is what a warning names.
  """
  @type t :: %__MODULE__{
          stack: atom,
          protocol: Sippet.Message.protocol(),
          reliable?: boolean,
          options: keyword,
          port: :inet.port_number(),
          monitor: reference | nil,
          wait: pos_integer,
          warning: integer | nil
        }

  @doc """
  Registers the calling process. Where that can't be done yet, it gets `:register`, for another call.
  """
  @spec register(t) :: t
  def register(attachment) do
    if registered(attachment) do
      monitor = Process.monitor(Transport.Registrations.name(attachment.stack))
      %{attachment | monitor: monitor, wait: @first_wait, warning: nil}
    else
      Process.send_after(self(), :register, attachment.wait)
      warn(%{attachment | monitor: nil, wait: min(2 * attachment.wait, @last_wait)})
    end
  end

  @spec registered?(t) :: boolean
  def registered?(%__MODULE__{monitor: monitor}), do: monitor != nil

  @doc """
  Takes the word that a process has ended; `:error` where it is not that of the stack's registrations.
  """
  @spec down(t, reference) :: {:ok, t} | :error
  def down(%__MODULE__{monitor: ref} = attachment, ref) when ref != nil,
    do: {:ok, register(%{attachment | monitor: nil})}

  def down(_attachment, _ref), do: :error

  defp registered(%__MODULE__{stack: stack, protocol: protocol} = attachment) do
    case Sippet.register_transport(
           stack,
           protocol,
           attachment.reliable?,
           attachment.options
         ) do
      :ok ->
        true

      # It was restarted, and kept its list.
      {:error, :already_registered} ->
        Stack.transport(Stack.fetch!(stack), self(), protocol) != nil
    end
  catch
    # The stack is not there: not yet, or no more.
    :exit, _reason -> false
  end

  defp warn(%__MODULE__{warning: at, stack: stack} = attachment) do
    {warn?, at} = warning(at, System.monotonic_time(:millisecond))

    if warn? do
      Log.write(
        stack,
        :warning,
        %{},
        "no stack of this name runs, and the #{name(attachment.protocol)} transport on port #{attachment.port} " <>
          "receives nothing: start {Sippet, name: #{inspect(stack)}}, or give the transport the name of a stack that runs"
      )
    end

    %{attachment | warning: at}
  end

  defp name(protocol), do: protocol |> to_string() |> String.upcase(:ascii)

  @doc """
  Returns whether it is to be told by now that there is no stack, and when it is next.
  """
  @spec warning(integer | nil, integer) :: {boolean, integer}
  def warning(nil, now), do: {false, now + @first_warning}
  def warning(at, now) when now < at, do: {false, at}
  def warning(_at, now), do: {true, now + @next_warning}
end
