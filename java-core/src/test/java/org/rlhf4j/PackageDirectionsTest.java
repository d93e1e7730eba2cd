package org.rlhf4j;

import static com.tngtech.archunit.lang.syntax.ArchRuleDefinition.noClasses;
import static com.tngtech.archunit.library.dependencies.SlicesRuleDefinition.slices;

import com.tngtech.archunit.core.domain.JavaClasses;
import com.tngtech.archunit.core.importer.ClassFileImporter;
import com.tngtech.archunit.core.importer.ImportOption;
import java.util.List;
import org.junit.jupiter.api.Test;

/** Dependencies go one way: cli → algorithms → nn → graph → tensor → bindings. */
class PackageDirectionsTest {
  /** From the top down; a package may use those below it, never those above. */
  private static final List<String> LAYERS =
      List.of(
          "cli",
          "demo",
          "algorithms",
          "generate",
          "nn.families",
          "nn",
          "lora",
          "optim",
          "graph",
          "tensor");

  private final JavaClasses classes =
      new ClassFileImporter()
          .withImportOption(new ImportOption.DoNotIncludeTests())
          .importPackages("org.rlhf4j");

  @Test
  void layersUseOnlyWhatIsBelowThem() {
    for (int below = 1; below < LAYERS.size(); below++) {
      for (int above = 0; above < below; above++) {
        noClasses()
            .that()
            .resideInAPackage("org.rlhf4j." + LAYERS.get(below))
            .should()
            .dependOnClassesThat()
            .resideInAPackage("org.rlhf4j." + LAYERS.get(above))
            .check(classes);
      }
    }
  }

  @Test
  void filesAndDataKnowNothingOfTensors() {
    noClasses()
        .that()
        .resideInAnyPackage(
            "org.rlhf4j.checkpoint", "org.rlhf4j.tokenizer", "org.rlhf4j.data", "org.rlhf4j.json")
        .should()
        .dependOnClassesThat()
        .resideInAnyPackage(
            "org.rlhf4j.tensor", "org.rlhf4j.graph", "org.rlhf4j.nn", "org.rlhf4j.algorithms")
        .check(classes);
  }

  @Test
  void onlyTheTensorPackageCallsTheGeneratedBindings() {
    noClasses()
        .that()
        .resideOutsideOfPackages("org.rlhf4j.tensor", "org.rlhf4j.bindings..")
        .should()
        .dependOnClassesThat()
        .resideInAPackage("org.rlhf4j.bindings.c")
        .check(classes);
  }

  @Test
  void nativeMemoryStaysBelow() {
    noClasses()
        .that()
        .resideOutsideOfPackages(
            "org.rlhf4j.tensor", "org.rlhf4j.bindings..", "org.rlhf4j.checkpoint")
        .and()
        .doNotHaveSimpleName("TensorLoader") // brings mapped files to the device
        .should()
        .dependOnClassesThat()
        .haveFullyQualifiedName("java.lang.foreign.MemorySegment")
        .check(classes);
  }

  @Test
  void noCycles() {
    slices().matching("org.rlhf4j.(*)..").should().beFreeOfCycles().check(classes);
  }
}
