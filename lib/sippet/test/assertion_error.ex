defmodule Sippet.Test.AssertionError do
  @moduledoc """
  Raised by the functions of `Sippet.Test` that find something else than what was expected.

      iex> raise Sippet.Test.AssertionError, "the stack :mystack sent nothing"
      ** (Sippet.Test.AssertionError) the stack :mystack sent nothing
  """

  defexception [:message]

  @type t :: %__MODULE__{message: String.t()}
end
