defmodule Sippet.Conformance.SupportTest do
  use ExUnit.Case, async: true

  alias Sippet.Conformance.{RFC, Tests}

  describe "RFC.keywords/1" do
    test "finds the words of RFC 2119 in their order" do
      assert RFC.keywords("a MUST NOT b, c MUST d; it is NOT RECOMMENDED, SHALL x, SHOULD NOT y") ==
               ["MUST NOT", "MUST", "NOT RECOMMENDED", "SHALL", "SHOULD NOT"]
    end

    test "passes over what asks for nothing, and over words in quotes" do
      assert RFC.keywords(~s(must, MAY, OPTIONAL, MUSTARD, "MUST", "SHALL NOT", "RECOMMENDED")) ==
               []
    end
  end

  describe "RFC.sections/2" do
    @text """
    Abstract

       A word, MUST, of no section.

    1.  Introduction

       It MUST
       NOT be

    Someone                     Standards Track                     [Page 2]
    \f
    RFC 9999                     A title                     January 2006

       broken.

    2 Second

    2.1  Below

       7 is no heading, nor is
    9.9  This

    Abstract

       All of it again. 1.  MUST
    """

    @tag :tmp_dir
    test "takes the text once, without what pages add", %{tmp_dir: folder} do
      File.write!(Path.join(folder, "rfc9999.txt"), @text)

      assert [
               {"0", "", _head},
               {"1", "Introduction", one},
               {"2", "Second", _empty},
               {"2.1", "Below", below}
             ] = RFC.sections(folder, "9999")

      assert RFC.keywords(one) == ["MUST NOT"]
      assert one =~ "be broken."
      assert below =~ "9.9 This"
    end
  end

  describe "Tests.find/3" do
    @here "test/conformance/support_test.exs"

    test "finds a test by a part of its name, behind that of its describe" do
      assert Tests.find(@here, "Tests.find/3 finds a test by", %{}) == :ok
      assert Tests.find(@here, "Tests.find/3 finds nothing", %{}) == :no_test
      assert Tests.find("test/conformance/no_test.exs", "x", %{}) == :no_file
    end

    test "goes by the modules that are loaded, if they are" do
      loaded = %{@here => ["another name"]}
      assert Tests.find(@here, "other", loaded) == :ok
      assert Tests.find(@here, "Tests.find/3 finds a test by", loaded) == :no_test
      assert Tests.find(@here, "finds a test by a part", Tests.loaded()) == :ok
    end

    test "finds those of the crates" do
      file = "native/sip_parser/src/start_line.rs"
      assert Tests.find(file, "rfc3261_7_1_request_lines", %{}) == :ok
      assert Tests.find(file, "fn parse", %{}) == :no_test
    end

    # What can't fail proves nothing.
    test "finds none that is always skipped" do
      assert Tests.find(__MODULE__.Skipped.file(), "that runs", Tests.loaded()) == :ok
      assert Tests.find(__MODULE__.Skipped.file(), "that is skipped", Tests.loaded()) == :no_test
    end

    defmodule Skipped do
      @moduledoc false
      def file, do: "test/nowhere_test.exs"

      def __ex_unit__ do
        path = Path.expand("../../" <> file(), __DIR__)

        tests =
          for {name, tags} <- [{:"test that is skipped", %{skip: true}}, {:"test that runs", %{}}],
              do: %ExUnit.Test{name: name, tags: Map.put(tags, :file, path)}

        %ExUnit.TestModule{tests: tests}
      end
    end
  end
end
