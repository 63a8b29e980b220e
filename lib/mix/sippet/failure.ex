defmodule Mix.Sippet.Failure do
  @moduledoc false
  # Diagnostics of `mix compile.sippet_nif`, in the form that Mix and the editors understand.

  alias Mix.Task.Compiler.Diagnostic

  @compiler "sippet_nif"

  @doc "Prints one sentence, and makes it the error that stops the compilation."
  @spec plain(Mix.Sippet.Nif.t(), String.t()) :: {:error, [Diagnostic.t()]}
  def plain(nif, sentence) do
    nif.print.(sentence)
    {:error, [diagnostic(:error, sentence, Path.join(nif.crate, "Cargo.toml"), 0)]}
  end

  @doc "Prints one sentence, and makes it a warning of the compilation."
  @spec warning(Mix.Sippet.Nif.t(), String.t()) :: [Diagnostic.t()]
  def warning(nif, sentence) do
    nif.print.(sentence)
    [diagnostic(:warning, sentence, Path.join(nif.crate, "Cargo.toml"), 0)]
  end

  @doc "Makes a diagnostic; line 0 is a whole file."
  @spec diagnostic(:error | :warning, String.t(), Path.t(), non_neg_integer) :: Diagnostic.t()
  def diagnostic(severity, message, file, line) do
    %Diagnostic{
      compiler_name: @compiler,
      severity: severity,
      message: message,
      file: file,
      position: line
    }
  end
end
