defmodule SippetNew.MixProject do
  use Mix.Project

  # The version of ../mix.exs: a test compares them. It is not read from there, as a package holds this folder alone.
  @version "2.0.0-dev"

  def project do
    [
      app: :sippet_new,
      version: @version,
      elixir: "~> 1.14",
      description: "mix sippet.new makes a project with a SIP user agent on Sippet",
      start_permanent: Mix.env() == :prod,
      package: package()
    ]
  end

  def application, do: [extra_applications: [:eex]]

  defp package do
    [
      licenses: ["BSD-3-Clause"],
      links: %{"RFC 3261" => "https://www.rfc-editor.org/rfc/rfc3261"},
      files: ~w(lib templates mix.exs README.md .formatter.exs)
    ]
  end
end
